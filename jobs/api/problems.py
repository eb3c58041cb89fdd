from rest_framework.views import exception_handler


def problem_details(exc, context):
    return exception_handler(exc, context)
