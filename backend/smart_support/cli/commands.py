"""The commands of `smart-support`. A failure is a sentence and an exit status, no traceback."""

import contextlib
import json
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, TypeVar

import structlog
import typer
import uvloop

from smart_support import __version__
from smart_support.app.commands import open_sign_ins
from smart_support.app.database import open_database
from smart_support.app.keys import tokens_of
from smart_support.app.web import create_app
from smart_support.cli import credentials as keys
from smart_support.cli import seed as seeding
from smart_support.cli import serve as serving
from smart_support.cli import specs
from smart_support.cli.catalogue import actions_json, errors_page
from smart_support.cli.doctor import examine
from smart_support.cli.failures import run_command
from smart_support.cli.reference import reference
from smart_support.cli.worker import serve_as_worker
from smart_support.errors import InvalidInput, SupportError
from smart_support.identity.people import Person, Role
from smart_support.operations.records import Access, ReviewState, Risk
from smart_support.operations.review import Correction
from smart_support.security.sealing import new_key
from smart_support.settings import Settings, read_settings
from smart_support.telemetry.log_file import LogFile
from smart_support.telemetry.logs import configure_logs
from smart_support.telemetry.watch import hide_secrets_of
from smart_support.tools.keyring import Given

Result = TypeVar("Result")
log = structlog.get_logger()

cli = typer.Typer(
    name="smart-support",
    help="Customer support whose tool calls can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Verdict(Enum):
    """What can be decided about an operation."""

    approve = "approve"
    reject = "reject"
    reopen = "reopen"


_STATES = {
    Verdict.approve: ReviewState.APPROVED,
    Verdict.reject: ReviewState.REJECTED,
    Verdict.reopen: ReviewState.PENDING,
}


class Flow(Enum):
    """Ways to a token of OAuth 2.0."""

    clientCredentials = "clientCredentials"  # noqa: N815 - the word of OpenAPI
    authorizationCode = "authorizationCode"  # noqa: N815


_SECRETS = {
    "basic": "Password",
    "bearer": "Token",
    "apiKey": "API key",
    "oauth2": "Client secret",
    "openIdConnect": "Client secret",
}


@cli.command()
def serve(
    demo: Annotated[
        bool, typer.Option("--demo", help="Also start the demo company and approve its API.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Processes that serve; default: SMART_SUPPORT_WORKERS."),
    ] = None,
) -> None:
    """Start the server, with an embedded PostgreSQL unless DATABASE_URL is set."""

    async def work(settings: Settings) -> None:
        if workers is not None:
            settings = settings.model_copy(update={"smart_support_workers": workers})
        await serving.serve(settings, demo=demo, say=_say)

    _run(work)


@cli.command(hidden=True)
def worker(
    listener: Annotated[int, typer.Option(help="The descriptor of the socket to serve on.")],
    shares: Annotated[int, typer.Option(help="The descriptor of who has how many connections.")],
    number: Annotated[int, typer.Option(help="Which of the processes this is, from 0.")],
    first: Annotated[bool, typer.Option("--first", help="Whether to welcome people.")] = False,
    document: Annotated[str | None, typer.Option(help="Of the demo company.")] = None,
) -> None:
    """One of several processes that serve; started by `serve`, ends with it."""
    _run(
        lambda settings: serve_as_worker(
            settings, listener, shares, number, first, document, say=_say
        )
    )


@cli.command()
def migrate() -> None:
    """Bring the database up to date and stop."""

    async def work(settings: Settings) -> None:
        async with open_database(settings, _say):
            _say("The database is up to date")

    _run(work)


@cli.command("import-spec")
def import_spec(
    source: Annotated[
        str,
        typer.Argument(
            help="File, directory, archive or URL of an OpenAPI document; DIR!/FILE names the "
            "main file of several."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="What to call it; default: its title.")] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Where the API is, if not where the document says.")
    ] = None,
) -> None:
    """Import an OpenAPI document. Its operations then wait for a review."""

    async def work(settings: Settings) -> None:
        imported = await specs.import_spec(settings, source, name)
        spec = imported.spec
        if base_url is not None:
            spec = await specs.set_base_url(settings, spec.name, base_url)
        _say(f"Imported {spec.name!r} ({spec.dialect}, version {spec.version_text})")
        _say(
            f"{imported.added} added, {imported.changed} changed, {imported.removed} removed, "
            f"{imported.unchanged} unchanged"
        )
        if imported.changed:
            _say(
                f"of the changed ones {imported.breaking} break calls as before, "
                f"{imported.turned_write} were reads and are writes now; none can be called until "
                "you look"
            )
        for skipped in spec.skipped:
            where = f" (line {skipped.line})" if skipped.line else ""
            _say(f"left out: {skipped.key}{where}: {skipped.reason}")
        if spec.base_url is None:
            _say("The document does not say where its API is: set it with --base-url.")
        _say(f"Review with: smart-support operations {json.dumps(spec.name)}")

    _run(work)


@cli.command()
def operations(
    spec: Annotated[str, typer.Argument(help="Name or id of an imported document.")],
) -> None:
    """List the operations of a document, with what is suggested and why."""

    async def work(settings: Settings) -> None:
        for operation in await specs.list_operations(settings, spec):
            for line in specs.described(operation):
                _say(line)

    _run(work)


@cli.command()
def decide(
    spec: Annotated[str, typer.Argument(help="Name or id of an imported document.")],
    operation: Annotated[str, typer.Argument(help="As in 'GET /orders', or the tool's name.")],
    verdict: Verdict,
    access: Annotated[Access | None, typer.Option()] = None,
    confirm: Annotated[
        bool | None, typer.Option("--confirm/--no-confirm", help="Ask the customer each time.")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Agent that owns it.")] = None,
    risk: Annotated[Risk | None, typer.Option()] = None,
    bind: Annotated[
        list[str] | None,
        typer.Option(
            help="ARGUMENT=CLAIM, filled from the customer; in the body /body/NAME=CLAIM; "
            "given once or more."
        ),
    ] = None,
    show: Annotated[
        list[str] | None,
        typer.Option(help="Field of the answer that is shown, as data.id; given once or more."),
    ] = None,
    paged: Annotated[
        bool | None, typer.Option("--paged/--not-paged", help="Walk its pages as suggested.")
    ] = None,
    fields: Annotated[
        str | None,
        typer.Option(
            "--set",
            help="JSON object of any field as in REST: idempotency_header, repeatable, lookup, "
            "status, approval_rules and the like. Where an option says the same, it wins.",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept with the decision.")] = None,
) -> None:
    """Approve or reject an operation, corrected if need be."""
    own: dict[str, Any] = {
        "access": access,
        "confirm": confirm,
        "agent": agent,
        "risk": risk,
        "bindings": _pairs(bind, "--bind", "ARGUMENT=CLAIM") if bind else None,
        "answer_fields": tuple(show) if show else None,
        "paged": paged,
    }

    async def work(settings: Settings) -> None:
        decided = await specs.decide_operation(
            settings,
            spec,
            operation,
            state=_STATES[verdict],
            correction=replace(
                Correction() if fields is None else specs.correction_in(fields),
                **{name: value for name, value in own.items() if value is not None},
            ),
            reason=reason,
        )
        for line in specs.described(decided):
            _say(line)

    _run(work)


@cli.command("approve-reads")
def approve_reads(
    spec: Annotated[str, typer.Argument(help="Name or id of an imported document.")],
    reason: Annotated[str | None, typer.Option(help="Why; kept with the decisions.")] = None,
) -> None:
    """Approve at once every waiting read on which all rules agree."""

    async def work(settings: Settings) -> None:
        decided = await specs.approve_clear_reads(settings, spec, reason)
        if decided is None:
            _say("No read waits on which all rules agree.")
            return
        for operation in decided.operations:
            _say(f"approved {operation.key}")
        _say(f"{len(decided.operations)} approved; take it back with:")
        _say(f"smart-support undo {decided.batch_id}")

    _run(work)


@cli.command()
def advise(
    spec: Annotated[str, typer.Argument(help="Name or id of an imported document.")],
) -> None:
    """Ask the model for a second opinion on what nobody has decided about."""

    async def work(settings: Settings) -> None:
        asked = advised = 0
        async with contextlib.aclosing(specs.second_opinion(settings, spec)) as pages:
            async for page in pages:
                asked, advised = asked + page.asked, advised + page.advised
                for key in page.unanswered:
                    _say(f"no answer on {key}")
        _say(f"Asked about {asked}; {advised} suggestions have the model's word now.")

    _run(work)


@cli.command()
def decisions(
    spec: Annotated[str, typer.Argument(help="Name or id of an imported document.")],
) -> None:
    """List who decided what about a document, when and why, the latest first."""

    async def work(settings: Settings) -> None:
        for batch in await specs.batches(settings, spec):
            states = ", ".join(state.value for state in batch.states)
            what = batch.first_key if batch.count == 1 else f"{batch.count} operations"
            why = f": {batch.reason}" if batch.reason else ""
            _say(f"{batch.at:%Y-%m-%d %H:%M} {batch.by} {states} {what}{why}")
            if batch.undoable:
                _say(f"    smart-support undo {batch.batch_id}")

    _run(work)


@cli.command()
def undo(
    batch: Annotated[str, typer.Argument(help="As `decisions` shows it.")],
) -> None:
    """Take decisions back, unless somebody has decided since."""

    async def work(settings: Settings) -> None:
        for operation in (await specs.undo(settings, batch)).operations:
            _say(f"{operation.key}  [{operation.state.value}]")

    _run(work)


@cli.command("dry-run")
def show_dry_run(
    spec: Annotated[str, typer.Argument(help="Name or id of an imported document.")],
    operation: Annotated[str, typer.Argument(help="As in 'GET /orders', or the tool's name.")],
    arguments: Annotated[
        str | None, typer.Option(help="JSON object, as the model gives it; default: made up.")
    ] = None,
    customer: Annotated[
        list[str] | None,
        typer.Option(help="CLAIM=VALUE of the customer; given once or more."),
    ] = None,
) -> None:
    """Show the exact request of an operation. Nothing is sent."""
    claims = {} if not customer else _pairs(customer, "--customer", "CLAIM=VALUE")
    given = None if arguments is None else _json_object(arguments)

    async def work(settings: Settings) -> None:
        shown = await specs.show_request(settings, spec, operation, given, claims)
        _say(f"{shown.method} {shown.url}")
        for name, value in shown.headers:
            _say(f"{name}: {value}")
        if shown.body is not None:
            _say("")
            _say(shown.body)

    _run(work)


@cli.command("switch-off")
def switch_off(
    reason: Annotated[str, typer.Option(help="Why; everybody who looks is shown it.")],
    spec: Annotated[
        str | None, typer.Argument(help="Name or id of a document; without it: everything.")
    ] = None,
    operation: Annotated[
        str | None, typer.Argument(help="As in 'GET /orders', or the tool's name.")
    ] = None,
) -> None:
    """Switch off everything, one API or one operation, for all processes, at once."""

    async def work(settings: Settings) -> None:
        stop = await specs.switch_off(settings, spec, operation, reason=reason)
        _say(specs.stop_described(stop))

    _run(work)


@cli.command("switch-on")
def switch_on(
    stop: Annotated[str, typer.Argument(help="Its id, as `smart-support stops` shows it.")],
    reason: Annotated[str, typer.Option(help="Why.")],
) -> None:
    """Switch on again what was switched off."""

    async def work(settings: Settings) -> None:
        _say(specs.stop_described(await specs.switch_on(settings, stop, reason=reason)))

    _run(work)


@cli.command("stops")
def list_stops() -> None:
    """List what is switched off, and then what was."""

    async def work(settings: Settings) -> None:
        for stop in await specs.list_stops(settings):
            _say(specs.stop_described(stop))

    _run(work)


credentials_cli = typer.Typer(
    help="What opens an API. Secrets are read from standard input, never from the command's words.",
    no_args_is_help=True,
)
cli.add_typer(credentials_cli, name="credentials")

SpecName = Annotated[str, typer.Argument(help="Name or id of an imported document.")]


@credentials_cli.command("list")
def list_credentials(spec: SpecName) -> None:
    """Show what an API needs and what is there."""

    async def work(settings: Settings) -> None:
        for line in keys.described(await keys.ring(settings, spec)):
            _say(line)

    _run(work)


@credentials_cli.command("set")
def set_credential(
    spec: SpecName,
    scheme: Annotated[str, typer.Argument(help="Name of the security scheme.")],
    username: Annotated[str | None, typer.Option(help="Of HTTP basic.")] = None,
    client_id: Annotated[str | None, typer.Option(help="Of OAuth 2.0.")] = None,
    flow: Annotated[Flow | None, typer.Option(help="Of OAuth 2.0, if there are several.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="Of OAuth 2.0; once or more.")] = None,
    in_body: Annotated[
        bool, typer.Option("--in-body", help="Send the client's secret in the body.")
    ] = False,
    origin: Annotated[
        list[str] | None, typer.Option(help="Server it may be sent to; default: the base URL's.")
    ] = None,
) -> None:
    """Set the credential of a scheme; the secret is read from standard input."""

    async def work(settings: Settings) -> None:
        type_ = await keys.scheme_type(settings, spec, scheme)
        secret = keys.read_secret(_SECRETS.get(type_, "Secret"))
        own = {"basic": "password", "oauth2": "client_secret", "openIdConnect": "client_secret"}
        given = Given(
            username=username,
            client_id=client_id,
            flow=flow.value if flow else None,
            scopes=scope,
            in_body=in_body,
            origins=origin,
            **{own.get(type_, "value"): secret},
        )
        await keys.give(settings, spec, scheme, given)
        _say(f"Set {scheme}")

    _run(work)


@credentials_cli.command("header")
def set_header(
    spec: SpecName,
    header: Annotated[str, typer.Argument(help="Name of the header.")],
    claim: Annotated[
        str | None, typer.Option(help="What of the customer fills it; default: a fixed value.")
    ] = None,
) -> None:
    """Let every request carry a header; a fixed value is read from standard input."""

    async def work(settings: Settings) -> None:
        value = keys.read_secret("Value") if claim is None else None
        await keys.give_header(settings, spec, header, value=value, claim=claim)
        _say(f"Set {header}")

    _run(work)


@credentials_cli.command("delete")
def delete_credential(
    spec: SpecName,
    name: Annotated[str, typer.Argument(help="A security scheme, or a header that was set.")],
) -> None:
    """Delete a credential, with every token that was had with it."""

    async def work(settings: Settings) -> None:
        await keys.take(settings, spec, name)
        _say(f"Deleted {name}")

    _run(work)


@credentials_cli.command("test")
def check_credential(
    spec: SpecName,
    scheme: Annotated[str, typer.Argument(help="Name of the security scheme.")],
    operation: Annotated[
        str | None, typer.Option(help="Key of an approved read; default: one is found.")
    ] = None,
    arguments: Annotated[str, typer.Option(help="Of that read, as a JSON object.")] = "{}",
) -> None:
    """Try a credential out; the command fails unless it is accepted."""
    given = _json_object(arguments)

    async def work(settings: Settings) -> bool:
        checked = await keys.check(settings, spec, scheme, operation=operation, arguments=given)
        for line in keys.check_described(checked):
            _say(line)
        return checked.result == "accepted"

    if not _run(work):
        raise typer.Exit(1)


@credentials_cli.command("environments")
def list_environments(spec: SpecName) -> None:
    """List the environments of an API; the one that is called has a star."""

    async def work(settings: Settings) -> None:
        for line in keys.environments_described(await keys.environments(settings, spec)):
            _say(line)

    _run(work)


@credentials_cli.command("environment")
def set_environment(
    spec: SpecName,
    environment: Annotated[str, typer.Argument(help="Its name, such as sandbox.")],
    base_url: Annotated[
        str | None, typer.Option(help="Where it is; may be left out if it was said before.")
    ] = None,
    choose: Annotated[
        bool, typer.Option("--choose", help="Call it from now on, with its own credentials.")
    ] = False,
) -> None:
    """Add an environment, say where it is, or choose it to be called."""

    async def work(settings: Settings) -> None:
        if base_url is None and not choose:
            raise InvalidInput("Say --base-url, or --choose it, or both.")
        changed = await keys.set_environment(settings, spec, environment, base_url, choose=choose)
        for line in keys.environments_described(changed):
            _say(line)

    _run(work)


@credentials_cli.command("new-key")
def new_sealing_key() -> None:
    """Print a fresh sealing key, to be put before the others in SMART_SUPPORT_SEALING_KEYS."""
    _say(new_key())


@credentials_cli.command("reseal")
def reseal() -> None:
    """Seal every stored credential with the first sealing key, so that the others can go."""

    async def work(settings: Settings) -> None:
        _say(f"Sealed anew: {await keys.reseal(settings)}")

    _run(work)


@cli.command("seed-demo")
def seed_demo(
    conversations: Annotated[int, typer.Option(min=1, max=5_000, help="How many.")] = 300,
    seed: Annotated[int, typer.Option(help="The same number tells the same stories.")] = 1,
) -> None:
    """Fill the installation with conversations over 90 days, to have something to look at."""
    _run(lambda settings: seeding.seed_demo(settings, conversations, seed=seed, say=_say))


@cli.command("sign-in")
def sign_in(
    role: Role,
    person: Annotated[str, typer.Argument(help="Id; for a customer the one in your systems.")],
    name: Annotated[str, typer.Option(help="What to call them.")] = "",
    email: Annotated[str | None, typer.Option()] = None,
) -> None:
    """Print a token for a person, to be put behind /sign-in#token= ."""

    async def work(settings: Settings) -> None:
        signed = Person(id=person, role=role, name=name or person, email=email)
        ttl = settings.smart_support_token_ttl
        _say(tokens_of(settings).issue(signed, now=datetime.now(UTC), ttl=ttl))

    _run(work)


@cli.command("end-sign-ins")
def end_sign_ins(
    person: Annotated[str | None, typer.Argument(help="Id of the person; or give --token.")] = None,
    role: Annotated[Role | None, typer.Option(help="Only this role of theirs.")] = None,
    token: Annotated[
        str | None, typer.Option(help="Id of one token, as the audit log shows it at a sign-in.")
    ] = None,
) -> None:
    """End every sign-in that a person has, or one, at once, in all processes."""
    if (person is None) is (token is None) or (token is not None and role is not None):
        raise typer.BadParameter("Give a person, with a role or without, or --token.")

    async def work(settings: Settings) -> None:
        async with (
            open_database(settings, lambda _: None) as url,
            open_sign_ins(settings, url) as sign_ins,
        ):
            if person is not None:
                roles = Role if role is None else [role]
                at = await sign_ins.end_person(person, roles, actor=specs.BY, role="command_line")
            else:
                at = await sign_ins.end_token(token or "", actor=specs.BY, role="command_line")
        _say(f"Ended: whatever was issued until {at:%Y-%m-%d %H:%M:%S} UTC holds no more.")

    _run(work)


@cli.command()
def openapi() -> None:
    """Print the OpenAPI document of this product's own REST API."""
    # As it is by default: what this machine has set has no part in it.
    app = create_app(Settings.model_construct(), _closed)
    sys.stdout.write(json.dumps(app.openapi(), indent=2) + "\n")


@cli.command()
def doctor() -> None:
    """Say what is wrong with this installation, and what to do about it."""

    async def work() -> bool:
        wrong = False
        async for finding in examine():
            wrong = wrong or finding.state == "wrong"
            first, *more = finding.said.splitlines()
            _say(f"{finding.state:<6} {finding.subject}: {first}")
            for line in more:
                _say(f"       {line}")
        return wrong

    with configure_logs("ERROR"):
        wrong = uvloop.run(work())
    _say("Something is wrong; see above." if wrong else "Nothing is wrong.")
    sys.exit(1 if wrong else 0)


@cli.command("settings")
def list_settings() -> None:
    """Print the reference of all settings, as in docs/configuration.md."""
    sys.stdout.write(reference())


@cli.command("errors")
def list_errors(
    actions: Annotated[
        bool, typer.Option("--actions", help="Only code and action, as JSON for the page.")
    ] = False,
) -> None:
    """Print the catalogue of errors, as in docs/errors.md."""
    sys.stdout.write(actions_json() if actions else errors_page())


@cli.command()
def version() -> None:
    """Print the version."""
    _say(__version__)


def _closed() -> Any:
    raise AssertionError("only its routes are looked at")


def _pairs(given: list[str], option: str, form: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in given]
    if any(not name or not value for name, _, value in pairs):
        raise typer.BadParameter(f"use {form}", param_hint=option)
    return {name: value for name, _, value in pairs}


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _log_file(settings: Settings) -> LogFile | None:
    if settings.smart_support_log_file is None:
        return None
    return LogFile(
        path=settings.smart_support_log_file,
        max_bytes=settings.smart_support_log_file_max_bytes,
        period=settings.smart_support_log_file_period,
        keep=settings.smart_support_log_file_keep,
    )


def _command() -> str:
    """Which command runs; never its arguments."""
    words, group = sys.argv[1:3], cli
    if words[:1] == ["credentials"]:
        words, group = words[1:], credentials_cli
    known = {
        each.name or each.callback.__name__ for each in group.registered_commands if each.callback
    }
    name = next((word for word in words[:1] if word in known), "command")
    return name if group is cli else f"credentials {name}"


def _json_object(arguments: str) -> dict[str, Any]:
    try:
        given = json.loads(arguments)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="--arguments") from None
    if not isinstance(given, dict):
        raise typer.BadParameter("use a JSON object", param_hint="--arguments")
    return given


def _run(work: Callable[[Settings], Coroutine[Any, Any, Result]]) -> Result:
    try:
        settings = read_settings()
        hide_secrets_of(settings)
        with configure_logs(
            settings.smart_support_log_level,
            settings.smart_support_log_format,
            file=_log_file(settings),
            message_text=settings.smart_support_log_message_text,
        ):
            try:
                return uvloop.run(run_command(work(settings), settings, _command()))
            except SupportError:
                raise
            except Exception:  # noqa: BLE001 - it is in the log, and a person reads no traceback
                sys.exit(70)
    except SupportError as error:
        sys.stderr.write(f"smart-support: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
