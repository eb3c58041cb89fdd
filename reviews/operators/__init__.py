"""What operators see of reviews, and do about them. The admin, the API and the commands all come here."""
