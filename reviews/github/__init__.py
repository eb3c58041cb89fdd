"""GitHub's REST API, as far as reviews need it: who we are there, what we read, and what we write.

`access.client_for(repository)` gives the client of a repository. Source: https://docs.github.com/rest, version
2022-11-28.
"""
