"""Dashboard: studies in a browser, by our pages and optuna-dashboard, behind a guard."""

from hpo.dashboard.access_token import given_token as given_token
from hpo.dashboard.http_server import tls_context as tls_context
from hpo.dashboard.server import Options as Options
from hpo.dashboard.server import Ready as Ready
from hpo.dashboard.server import serve as serve
