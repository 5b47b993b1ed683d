"""``cf.enrich``: verbs over files larger than memory."""
