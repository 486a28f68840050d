"""Does what is new in schema/, in the order of the names, each file wholly or not at all."""

import os
import pathlib
import sqlite3
import sys


def main():
    database = sqlite3.connect(os.environ["DATABASE"], isolation_level=None)
    database.execute("create table if not exists migrations (name text primary key)")
    done = {name for (name,) in database.execute("select name from migrations")}
    new = [path for path in sorted(pathlib.Path("schema").glob("*.sql")) if path.name not in done]
    for path in new:
        try:
            database.executescript(f"begin;\n{path.read_text()}")
            database.execute("insert into migrations values (?)", (path.name,))
            database.execute("commit")
        except sqlite3.Error as error:
            sys.exit(f"migrate: {path.name}: {error}")  # what it did is rolled back
        print(f"migrate: {path.name}", flush=True)
    print(f"migrate: {len(new)} new, {len(done)} done before", flush=True)


main()
