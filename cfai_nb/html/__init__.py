"""HTML that is safe to show: markup made of untrusted text, its style, and a page that is saved in one file."""
