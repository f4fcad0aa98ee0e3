"""Makes Neutron's database from its models, since its migrations alter constraints and SQLite cannot. Argument: the database's URL."""

import sys

import sqlalchemy
from neutron.db.migration.models import head

head.get_metadata().create_all(sqlalchemy.create_engine(sys.argv[1]))
