import gc

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = "Work"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.core.checks import register

        from jobs.checks import check_admin_actions
        from jobs.watch import registering  # noqa: F401  (the import registers)

        register(check_admin_actions, "admin")
        # Switched off by `config`. What is loaded by now stays, and is not to be gone through time and again.
        gc.freeze()
        gc.enable()
