"""The process in which a user's class runs, and the worker's side of it.

``host.py`` is started as a file, isolated from this project: it imports neither ``workers`` nor
``shared``, so that no module of a user's can clash with ours. It forks once, before anything of
the user's is loaded. The parent, the *keeper*, ends all that the class has started when the class
or the worker dies; the child loads the class and answers batches.
"""
