"""iCalendar (RFC 5545): tasks read leniently, and written strictly."""
