"""What is known of a repository's code: a mirror of it, the symbols in it, and what of both helps to judge a change."""
