"""In and out for people who are not operators, and where each is at home."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import views as stock
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse, reverse_lazy
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from reminders.web.frame import LOGIN


def home(request: HttpRequest) -> HttpResponse:
    """Operators to the control room, everybody else to their tasks."""
    return redirect(home_of(request.user) if request.user.is_authenticated else str(LOGIN))


def home_of(user: Any) -> str:
    return reverse("admin:index" if user.is_staff else "pages:todos")


class Login(stock.LoginView):
    template_name = "reminders/pages/login.html"
    redirect_authenticated_user = True

    def get_redirect_url(self, request: HttpRequest | None = None) -> str:
        """The page that asked for the login, if it is one of ours, and open to this person."""
        wanted = super().get_redirect_url()
        user: Any = self.request.user
        closed = user.is_authenticated and not user.is_staff and wanted.startswith(reverse("admin:index"))
        return "" if closed else wanted

    def get_default_redirect_url(self) -> str:
        return home_of(self.request.user)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def logout(request: HttpRequest) -> HttpResponse:
    """Asked first, as a link must log nobody out."""
    if request.method == "POST" or not request.user.is_authenticated:
        return stock.LogoutView.as_view(next_page=LOGIN)(request) if request.method == "POST" else redirect(str(LOGIN))
    return render(request, "reminders/pages/logout.html")


@method_decorator(never_cache, name="dispatch")
class PasswordChange(stock.PasswordChangeView):
    template_name = "reminders/pages/password.html"
    success_url = reverse_lazy("pages:preferences")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if not request.user.is_authenticated:
            return redirect(f"{LOGIN}?next={request.path}")
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: Any) -> HttpResponse:
        answer = super().form_valid(form)
        messages.success(self.request, "Your password was changed. You stay logged in here, and nowhere else.")
        return answer
