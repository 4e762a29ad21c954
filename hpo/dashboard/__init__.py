"""Dashboard: optuna-dashboard on a database of hpo, for this machine's user only."""

from hpo.dashboard.server import is_loopback as is_loopback
from hpo.dashboard.server import serve as serve
