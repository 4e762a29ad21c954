"""optuna-dashboard over a database of ours, for this machine's user alone."""

from hpo.dashboard.server import is_loopback as is_loopback
from hpo.dashboard.server import serve as serve
