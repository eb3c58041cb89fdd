"""The control room: unfold's admin over the ledger. Every action goes through a service in `jobs.operators`."""

from jobs.admin import access, audit, jobs, results, schedules, timetables, tokens, workers

__all__ = ["access", "audit", "jobs", "results", "schedules", "timetables", "tokens", "workers"]
