"""Preprocessing: fetch, decode, resize, stage."""
