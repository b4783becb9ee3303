"""`h2onet photos`: hands of single photographs as files."""
