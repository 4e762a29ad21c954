"""Webhook logger: posts JSON when a trial is the new best, when trials fail, and at the end.

The URL comes from this machine's user alone: an option, the environment or the user's study file.
Redirects are not followed, for they would lead elsewhere.
"""

from __future__ import annotations

import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from hpo.run.loggers.logger import LoggedEpoch, LoggedStudy, LoggedTrial, StudyEnding, TrialEnding

ENVIRONMENT_VARIABLE: Final = "HPO_WEBHOOK_URL"
TIMEOUT_S: Final = 10.0
TRIES: Final = 3
_PAUSE_S: Final = 1.0
_LONGEST_MESSAGE: Final = 2_000
_NEVER: Final = 2**62


class WebhookError(Exception):
    """A webhook was not taken; the message has no part of its URL."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class WebhookLogger:
    """Posts to a URL.

    Each post has a ``text`` for people, which chats show, and an ``id``: one that is sent again,
    because no answer came or this process was killed, has the same.

    Args:
        target: The URL; by default ``$HPO_WEBHOOK_URL``.
        study: The study.
        pause_s: Seconds before the second try.

    Attributes:
        has_history: False: what happened before it was first used is not posted.

    Raises:
        ValueError: There is no URL, or it is not one of HTTP.
    """

    has_history = False

    def __init__(self, target: str | None, study: LoggedStudy, pause_s: float = _PAUSE_S) -> None:
        url = target or os.environ.get(ENVIRONMENT_VARIABLE, "")
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ValueError(
                f"a webhook needs a URL, http:// or https://, or ${ENVIRONMENT_VARIABLE}"
            )
        self._url = url
        self._study = study
        self._pause_s = pause_s
        self._opener = urllib.request.build_opener(_NoRedirects)

    def begin(self, trial: LoggedTrial) -> int:
        """Returns a large number: no epoch is posted."""
        return _NEVER

    def log(self, trial: LoggedTrial, epochs: Sequence[LoggedEpoch]) -> None:
        """Does nothing."""

    def pause(self, trial: LoggedTrial) -> None:
        """Does nothing."""

    def end(self, trial: LoggedTrial, ending: TrialEnding) -> None:
        """Posts a new best trial, or one that failed."""
        name, number = self._study.name, trial.number
        about = {"trial": number, "params": {k: _plain(v) for k, v in trial.params.items()}}
        if ending.is_best:
            metric, value = next(iter(ending.values.items()))
            text = f"{name}: trial {number} is the best so far, {metric} {value:.6g}"
            self._deliver("best", text, str(number), {**about, "value": _plain(value)})
        elif ending.state == "FAIL":
            last = (ending.message.strip().splitlines() or [""])[-1][:_LONGEST_MESSAGE]
            text = f"{name}: trial {number} failed ({ending.reason}): {last}"
            self._deliver("failed", text, str(number), {**about, "reason": ending.reason})

    def finish(self, ending: StudyEnding) -> None:
        """Posts that the study is done, or has stopped itself because its trials fail."""
        event = "failed" if ending.has_failed else ending.state
        what = f"{self._study.name} is {ending.state} after {ending.n_trials} trials"
        reason = f" ({ending.reason})" if ending.reason else ""
        best = ""
        if ending.best is not None and ending.best_value is not None:
            best = f"; best {ending.best_value:.6g} (trial {ending.best})"
        more = {
            "n_trials": ending.n_trials,
            "best_trial": ending.best,
            "best_value": _plain(ending.best_value),
            "reason": ending.reason,
        }
        self._deliver(event, f"{what}{reason}{best}", str(ending.n_trials), more)

    def close(self) -> None:
        """Does nothing."""

    def _deliver(self, event: str, text: str, key: str, more: dict[str, Any]) -> None:
        payload = {
            "id": f"{self._study.identity}-{event}-{key}",
            "event": event,
            "study": self._study.name,
            "metric": list(self._study.metrics),
            "text": text,
            **more,
        }
        body = json.dumps(payload, allow_nan=False).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "hpo"}
        for n_tries in range(1, TRIES + 1):
            request = urllib.request.Request(self._url, body, headers, method="POST")
            why, is_worth_it = self._send(request)
            if not why:
                return
            if n_tries == TRIES or not is_worth_it:
                raise WebhookError(why)
            time.sleep(self._pause_s * 2 ** (n_tries - 1))

    def _send(self, request: urllib.request.Request) -> tuple[str, bool]:
        """Sends a post; returns why it was not taken, and whether trying again may help."""
        try:
            with self._opener.open(request, timeout=TIMEOUT_S):
                return "", False
        except urllib.error.HTTPError as error:
            with error:
                is_moved = 300 <= error.code < 400
                why = f"the webhook answers {error.code}"
                why += ", a redirect, which is not followed" if is_moved else ""
                return why, error.code in (408, 429) or error.code >= 500
        except (OSError, ValueError) as error:
            # The reason of a URL error names no URL.
            reason = getattr(error, "reason", None) or type(error).__name__
            return f"the webhook does not answer: {reason}", True


def _plain(value: Any) -> Any:
    """Returns a value as JSON has it; numbers that JSON lacks become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float | str | None) else str(value)
