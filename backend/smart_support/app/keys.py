"""The keys of an installation: what signs, what seals, what a webhook is signed with."""

from smart_support.errors import SetupError
from smart_support.identity.tokens import Tokens, signing_key
from smart_support.security.sealing import Keys, kept_keys, parse_keys
from smart_support.settings import Settings


def tokens_of(settings: Settings) -> Tokens:
    """What signs and reads tokens in this installation.

    Raises:
        SetupError: the signing key cannot be read or kept.
    """
    if settings.smart_support_secret_key is not None:
        return Tokens(settings.smart_support_secret_key.get_secret_value())
    return Tokens(signing_key(settings.smart_support_data_dir / "signing.key"))


def keys_of(settings: Settings) -> Keys:
    """What seals and opens stored credentials in this installation.

    Raises:
        SetupError: the keys are of another form, or cannot be read or kept.
    """
    if settings.smart_support_sealing_keys is not None:
        return parse_keys(settings.smart_support_sealing_keys.get_secret_value())
    return kept_keys(settings.smart_support_data_dir / "sealing.keys")


def webhook_of(settings: Settings) -> tuple[str, str] | None:
    """URL and secret of the webhook; None if nobody is to be told.

    Raises:
        SetupError: there is a URL without a secret: nobody could trust what comes.
    """
    url, secret = (
        settings.smart_support_handoff_webhook_url,
        settings.smart_support_handoff_webhook_secret,
    )
    if url is None:
        return None
    if secret is None:
        raise SetupError(
            "SMART_SUPPORT_HANDOFF_WEBHOOK_URL is set without "
            "SMART_SUPPORT_HANDOFF_WEBHOOK_SECRET: set both, or neither."
        )
    return url, secret.get_secret_value()
