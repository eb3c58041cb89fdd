"""GitHub's deliveries."""

from django.urls import path

from reviews.api import delivery_views as views

urlpatterns = [
    path("deliveries/", views.DeliveriesView.as_view(), name="deliveries"),
    path("deliveries/<int:delivery_id>/", views.DeliveryView.as_view(), name="delivery"),
    path("deliveries/<int:delivery_id>/handle/", views.HandleView.as_view(), name="delivery-handle"),
    path("deliveries/<int:delivery_id>/redeliver/", views.RedeliverView.as_view(), name="delivery-redeliver"),
    path("missed-deliveries/", views.MissedDeliveriesView.as_view(), name="missed-deliveries"),
    path("missed-deliveries/<int:missed_id>/", views.MissedDeliveryView.as_view(), name="missed-delivery"),
    path("missed-deliveries/<int:missed_id>/ask/", views.AskView.as_view(), name="missed-delivery-ask"),
]
