"""One PostgreSQL: where it comes from, how it is reached, what shape it has.

Every package with tables puts them on `metadata` in its own `tables.py`.
"""

import sqlalchemy as sa

from smart_support.database.session import Prepared, Row, Rows, Session, Sessions, upsert

__all__ = ["Prepared", "Row", "Rows", "Session", "Sessions", "metadata", "upsert"]

metadata = sa.MetaData(
    # Named by us, so that a migration can drop what an earlier one made.
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)
