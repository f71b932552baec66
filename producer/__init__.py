"""The side that decides what work exists: command line, listing, manifest, feeding, rescue."""
