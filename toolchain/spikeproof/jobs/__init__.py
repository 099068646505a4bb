"""Work cut into items: done by many processes or machines, kept in a journal, resumed."""
