"""Staff: who works here, their roles, signing in and out."""
