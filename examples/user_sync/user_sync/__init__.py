"""Never two workers on the same user, and no user blocked by a worker that crashed."""
