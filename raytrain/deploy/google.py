"""What all of Google's clients share: who is asking, and what went wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from raytrain.deploy.smoke import DeployFailed
from raytrain.errors import ConfigError

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


def credentials(api_endpoint: str | None) -> Any:
    """The machine's own; none for a stand-in server.

    Raises:
        ConfigError: there are none.
    """
    from google.auth import credentials as kinds
    from google.auth import default, exceptions

    if api_endpoint:
        return kinds.AnonymousCredentials()  # type: ignore[no-untyped-call]
    try:
        return default(scopes=SCOPES)[0]
    except exceptions.DefaultCredentialsError as error:
        raise ConfigError(
            f"Google Cloud needs credentials, got none; run `gcloud auth application-default login`: {error}"
        ) from None


@contextmanager
def refusals(service: str, place: str) -> Iterator[None]:
    """What a service refuses or does not answer, as one message.

    Raises:
        DeployFailed: either.
    """
    from concurrent.futures import TimeoutError as WaitedTooLong

    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    try:
        yield
    except (GoogleAPIError, GoogleAuthError, RequestException, WaitedTooLong) as error:
        told = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise DeployFailed(f"{service} refuses {place} or does not answer: {told}") from None
