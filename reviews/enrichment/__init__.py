"""What can be told of an issue from its text, without any service: cleaned text, summary, labels, similar issues."""
