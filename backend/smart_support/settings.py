"""Every setting, typed, with its unit. The environment and a `.env` file are the only sources."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from smart_support.errors import SetupError

Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """What an installation can choose. Field names are the environment names in lower case."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    database_url: SecretStr | None = Field(
        None, description="postgresql://… of a server. Empty: an embedded PostgreSQL is started."
    )
    smart_support_database_direct_url: SecretStr | None = Field(
        None,
        description="The same database past any pooler, for locks and notifications."
        " Empty: DATABASE_URL.",
    )
    openai_api_key: SecretStr | None = Field(
        None, description="Key of the model endpoint. Empty: the offline model answers."
    )
    openai_base_url: str | None = Field(
        None, description="Base URL of an OpenAI-compatible endpoint, ending in /v1."
    )
    openai_model: str = Field("gpt-4.1-mini", description="Model name at that endpoint.")
    openai_fallback_model: str | None = Field(
        None, description="Model that stands in while the first fails. Empty: none does."
    )
    openai_fallback_base_url: str | None = Field(
        None, description="Its endpoint. Empty: the first one's."
    )
    openai_fallback_api_key: SecretStr | None = Field(
        None, description="Its key. Empty: the first one's."
    )

    smart_support_data_dir: Path = Field(
        Path(".data"), description="Folder for the embedded database, keys and the demo company."
    )
    smart_support_agents_file: Path | None = Field(
        None, description="YAML file that describes the agents. Empty: one agent for everything."
    )
    smart_support_host: str = Field("127.0.0.1", description="Address to listen on.")
    smart_support_port: int = Field(
        8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one."
    )
    smart_support_secret_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="Signs tokens. Empty: one is made and kept in the data folder.",
    )
    smart_support_sealing_keys: SecretStr | None = Field(
        None,
        description=(
            "ID:KEY pairs, separated by commas, that seal stored credentials; the first one seals, "
            "all open. Empty: one is made and kept in the data folder."
        ),
    )
    smart_support_public_url: str | None = Field(
        None,
        pattern="^https?://[^/?#]+(/[^?#]*)?$",
        description=(
            "Where browsers reach this installation; OAuth servers send customers back there. "
            "Empty: the address of the request."
        ),
    )
    smart_support_log_level: str = Field(
        "INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least level that is logged."
    )
    smart_support_log_format: str = Field(
        "console", pattern="^(console|json)$", description="console for people, json for machines."
    )
    smart_support_log_file: Path | None = Field(
        None, description="File that log lines are also kept in, as JSON. Empty: none."
    )
    smart_support_log_file_max_bytes: int = Field(
        10 * 1024 * 1024, gt=0, description="Size at which a new log file begins, in bytes."
    )
    smart_support_log_file_period: Seconds = Field(
        86_400.0, description="Seconds, from midnight UTC, after which a new log file begins."
    )
    smart_support_log_file_keep: int = Field(
        7, ge=1, le=1_000, description="Log files that are kept beside the current one."
    )
    smart_support_log_message_text: bool = Field(
        default=False, description="Whether log lines may show what people, models and APIs wrote."
    )
    smart_support_metrics_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Bearer token that may read /metrics. Empty: only operators may.",
    )
    smart_support_trace_endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="OTLP address for traces, ending in /v1/traces. Empty: none are made.",
    )
    smart_support_model_input_price: float = Field(
        0.0, ge=0, description="Price of a million input tokens, for the cost metric."
    )
    smart_support_model_output_price: float = Field(
        0.0, ge=0, description="Price of a million output tokens, for the cost metric."
    )
    smart_support_monitor_interval: Seconds = Field(
        30.0, description="Seconds between two looks at process and dependencies."
    )
    smart_support_alert_window: Seconds = Field(
        300.0, description="Seconds of the past that alert rules go by."
    )
    smart_support_alert_error_rate: float = Field(
        0.05, gt=0, le=1, description="Share of failed turns above which is alerted."
    )
    smart_support_alert_slow_turn: Seconds = Field(
        30.0, description="Seconds from which on a turn counts as slow."
    )
    smart_support_alert_slow_share: float = Field(
        0.05, gt=0, le=1, description="Share of slow turns above which is alerted."
    )
    smart_support_alert_resource_use: float = Field(
        0.9, gt=0, le=1, description="Share of CPU, memory or disk above which is alerted."
    )
    smart_support_alert_repeat: Seconds = Field(
        14_400.0, description="Seconds after which an alert that still holds is told again."
    )
    smart_support_alert_webhook: SecretStr | None = Field(
        None, description="URL that alerts are sent to as JSON."
    )
    smart_support_alert_slack: SecretStr | None = Field(
        None, description="Incoming webhook of Slack, or of what takes the same."
    )
    smart_support_alert_pagerduty_key: SecretStr | None = Field(
        None, description="Routing key of a PagerDuty service (Events API v2)."
    )
    smart_support_alert_pagerduty_url: str = Field(
        "https://events.pagerduty.com/v2/enqueue",
        pattern="^https?://",
        description="Where PagerDuty, or what takes the same, listens.",
    )
    smart_support_alert_smtp: SecretStr | None = Field(
        None, description="smtp://[user:password@]host[:port] or smtps://… for alerts by e-mail."
    )
    smart_support_alert_email_from: str = Field(
        "smart-support@localhost", description="Sender of alerts by e-mail."
    )
    smart_support_alert_email_to: str | None = Field(
        None, description="Receivers of alerts by e-mail, with commas between them."
    )
    smart_support_spec_max_bytes: int = Field(
        64 * 1024 * 1024, gt=0, description="Largest OpenAPI document, in bytes."
    )
    smart_support_spec_timeout: Seconds = Field(
        20.0, description="Seconds to wait for an OpenAPI document behind a URL."
    )
    smart_support_message_limit: int = Field(
        10, gt=0, description="Messages a thread may receive per window."
    )
    smart_support_message_window: Seconds = Field(10.0, description="That window, in seconds.")
    smart_support_rest_limit: str = Field(
        "300/minute",
        pattern="^[1-9][0-9]*/(second|minute|hour|day)$",
        description="REST calls per address, such as 300/minute.",
    )
    smart_support_allowed_origins: str = Field(
        "",
        description="Other sites whose pages may open the chat, such as https://shop.example;"
        " several with commas.",
    )
    smart_support_sockets_per_person: int = Field(
        20, gt=0, description="Chat sockets that one person may have open in one process."
    )
    smart_support_sockets_per_address: int = Field(
        1_000, gt=0, description="Chat sockets that one address may have open in one process."
    )
    smart_support_frames_per_second: float = Field(
        30.0, gt=0, description="Frames that one chat socket may send; ten times as many at once."
    )
    smart_support_heartbeat: Seconds = Field(
        20.0,
        description="Seconds between pings of a chat socket; one may be unanswered for as long.",
    )
    smart_support_while_answering: str = Field(
        "queue",
        pattern="^(queue|interrupt)$",
        description="What a message does while one is answered: wait, or stop that answer.",
    )
    smart_support_workers: int = Field(
        1, gt=0, le=64, description="Processes that serve, behind one port."
    )
    smart_support_stop_grace: Seconds = Field(
        10.0, description="Seconds that answers get to finish when the server is stopped."
    )
    smart_support_tool_timeout: Seconds = Field(
        30.0, description="Seconds a tool call may take in all, retries included."
    )
    smart_support_tool_attempt_timeout: Seconds = Field(
        10.0, description="Seconds one HTTP attempt of a tool call may take."
    )
    smart_support_tool_max_bytes: int = Field(
        2 * 1024 * 1024, gt=0, description="Largest answer read from an upstream API, in bytes."
    )
    smart_support_tool_attempts: int = Field(
        3, gt=0, description="Attempts of one tool call, where repeating it is safe."
    )
    smart_support_tool_concurrency: int = Field(
        32, gt=0, description="Calls to one upstream API at the same time; others wait."
    )
    smart_support_tool_allowed_hosts: str = Field(
        "",
        description="Private hosts, addresses and networks that upstream APIs may have, "
        "such as orders.internal,10.1.0.0/16. Public ones always may.",
    )
    smart_support_tool_quotas: str = Field(
        "",
        description="Most calls to an upstream API, such as https://api.example.com=10/second, "
        "separated by commas.",
    )
    smart_support_tool_retry_ratio: float = Field(
        0.1, ge=0, le=1, description="Retries that an upstream API is sent, as a share of calls."
    )
    smart_support_tool_retry_burst: int = Field(
        10, ge=0, description="Retries beyond that share which it may be sent in a row."
    )
    smart_support_breaker_calls: int = Field(
        10, gt=0, description="Calls within 10 s before an upstream API is judged."
    )
    smart_support_breaker_share: float = Field(
        0.5, gt=0, description="Share of failed or slow calls after which it is left alone."
    )
    smart_support_breaker_slow_after: Seconds = Field(
        8.0, description="Seconds after which a call counts as slow."
    )
    smart_support_breaker_open_for: Seconds = Field(
        2.0, description="Seconds that it is left alone the first time; doubles while it fails."
    )
    smart_support_breaker_open_at_most: Seconds = Field(
        30.0, description="Seconds that it is left alone at most."
    )
    smart_support_model_timeout: Seconds = Field(
        60.0, description="Seconds to wait for the next piece of the model's answer."
    )
    smart_support_turn_timeout: Seconds = Field(
        180.0, description="Seconds a turn may take in all."
    )
    smart_support_turns_at_once: int = Field(
        128,
        gt=0,
        description="Turns that a process answers at once at most; fewer while its processor is"
        " busy, down to 32. Others wait, in order, and their customers are told so.",
    )
    smart_support_turns_waiting: int = Field(
        64,
        ge=0,
        description="Turns of a process that may wait beyond those; then new messages are refused"
        " for now, and nothing of them is stored.",
    )
    smart_support_turn_wait: Seconds = Field(
        10.0,
        description="Seconds that a turn should wait at most: a message that would wait longer is"
        " refused for now, and nothing of it is stored.",
    )
    smart_support_turn_max_model_calls: int = Field(
        8, gt=0, description="Model calls one turn may make."
    )
    smart_support_turn_max_tool_calls: int = Field(
        30, gt=0, description="Tool calls one turn may make; then a person is asked for."
    )
    smart_support_turn_max_tokens: int = Field(
        200_000, gt=0, description="Tokens one turn may use, read and written together."
    )
    smart_support_turn_max_cost: float = Field(
        0.0, ge=0, description="What one turn may cost, in the currency of the prices; 0: no cap."
    )
    smart_support_price_input: float = Field(
        0.0, ge=0, description="Price of a million tokens that the model reads."
    )
    smart_support_price_output: float = Field(
        0.0, ge=0, description="Price of a million tokens that the model writes."
    )
    smart_support_history_tokens: int = Field(
        6_000,
        ge=500,
        description="Tokens of the past that the model reads word for word; notes stand for more.",
    )
    smart_support_handoff_webhook_url: str | None = Field(
        None,
        description="Told of handoffs by signed POST requests. Empty: nobody is told.",
    )
    smart_support_handoff_webhook_secret: SecretStr | None = Field(
        None, min_length=16, description="Signs them; at least 16 characters."
    )
    smart_support_tools_per_turn: int = Field(
        20,
        ge=1,
        le=100,
        description="Tools an agent is offered for a message; of more, those that fit its words.",
    )
    smart_support_model_advises: bool = Field(
        default=False,
        description="Let the model give a second opinion on imported operations, when asked.",
    )
    smart_support_approval_ttl: Seconds = Field(
        86_400.0, description="Seconds an approval can be given after it was asked for."
    )
    smart_support_abandon_after: Seconds = Field(
        86_400.0, description="Seconds of silence after which a waiting thread counts as abandoned."
    )
    smart_support_token_ttl: Seconds = Field(
        43_200.0, description="Seconds a sign-in link and its token are valid."
    )

    def origins(self) -> frozenset[str]:
        """The sites whose pages may open the chat, besides our own."""
        named = self.smart_support_allowed_origins.split(",")
        return frozenset(site.strip().rstrip("/") for site in named if site.strip())


def read_settings() -> Settings:
    """The settings of this process.

    Raises:
        SetupError: a line is missing or wrong; the text names each and says what is expected.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise SetupError(
            "These settings are wrong, in the environment or in .env:\n  " + "\n  ".join(lines)
        ) from None
