"""`devbox token` and `devbox user`: who may reach what."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from devbox.cli.lazy import Call, command, group
from devbox.cli.options import Namespace, ProjectName
from devbox.cli.units import age, parse_lifetime
from devbox.model.errors import BadInput

if TYPE_CHECKING:
    from devbox.cli.reach import Gateway
    from devbox.model.grants import Scope
    from devbox.model.orchestrator import ProjectKey, TokenSecret
    from devbox.model.projects import TokenInfo

TokenId = Annotated[str, typer.Argument(metavar="ID", help="As `devbox token list` shows it.")]
Scopes = Annotated[
    list[str],
    typer.Option("--scope", metavar="SCOPE", help="full, ssh, lsp, ports or read-only."),
]
Lifetime = Annotated[str, typer.Option("--lifetime", metavar="TIME", help="As 12h or 7d.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="A name for the person.")]


@command("devbox token list hello")
async def list_tokens(call: Call, name: ProjectName, namespace: Namespace = "") -> None:
    """List a project's tokens, without their secrets."""
    from devbox.cli.reach import open_project

    async with open_project(call, name, namespace) as (gateway, key):
        found = await gateway.api.list_tokens(key)
    call.screen.answer(found)
    now = time.time()
    call.screen.table(
        ("id", "name", "scopes", "made", "ends"), [_token_row(one, now) for one in found.tokens]
    )


def _token_row(token: "TokenInfo", now: float) -> tuple[str, ...]:
    if not token.expires_at:
        ends = "never"
    else:
        left = token.expires_at - now
        ends = f"in {left / 3600:.1f} h" if left > 0 else "ended"
    return (token.id, token.name, ", ".join(token.scopes), age(token.created_at, now), ends)


@command(
    "devbox token new hello",
    "devbox token new hello --name ci --scope ssh --lifetime 12h",
)
async def new(
    call: Call,
    name: ProjectName,
    namespace: Namespace = "",
    label: Annotated[str, typer.Option("--name", metavar="TEXT", help="What it is for.")] = "extra",
    scope: Scopes = ["full"],
    lifetime: Lifetime = "0",
) -> None:
    """Add a token to a project and print its address, once."""
    from devbox.cli.reach import open_project
    from devbox.model.orchestrator import NewToken

    scopes, lifetime_s = scopes_of(scope), parse_lifetime(lifetime)
    async with open_project(call, name, namespace) as (gateway, key):
        request = NewToken(
            namespace=key.namespace,
            name=key.name,
            token_name=label,
            scopes=scopes,
            lifetime_s=lifetime_s,
        )
        made = await gateway.api.new_token(request)
        await _tell(call, gateway, key, made)


def scopes_of(names: list[str]) -> "tuple[Scope, ...]":
    """Scopes as typed. Raises BadInput."""
    from devbox.model.grants import Scope

    allowed = [scope for scope in Scope if scope is not Scope.REVOKE]
    for name in names:
        if name not in allowed:
            raise BadInput(f"there is no scope {name!r}", f"There are: {', '.join(allowed)}.")
    return tuple(Scope(name) for name in names)


@command("devbox token rotate hello", "devbox token rotate hello --id 3f2a")
async def rotate(
    call: Call,
    name: ProjectName,
    namespace: Namespace = "",
    token_id: Annotated[str, typer.Option("--id", metavar="ID", help="Only this one.")] = "",
) -> None:
    """Replace all of a project's tokens by one new one, or only one. Old ones end at once."""
    from devbox.cli.config import keep_project_token
    from devbox.cli.reach import open_project
    from devbox.model.orchestrator import RotateTokens

    async with open_project(call, name, namespace) as (gateway, key):
        made = await gateway.api.rotate_tokens(
            RotateTokens(namespace=key.namespace, name=key.name, token_id=token_id)
        )
        keep_project_token(gateway.context.name, f"{key.namespace}/{key.name}", made.token)
        await _tell(call, gateway, key, made)
    call.screen.note("What was connected with the old one is cut off.")


async def _tell(call: Call, gateway: "Gateway", key: "ProjectKey", made: "TokenSecret") -> None:
    from devbox.cli.create import address_of, tell_address, url_of

    address = await address_of(gateway, key, made.token)
    call.screen.answer({"token": made.info, "address": address, "url": url_of(gateway, address)})
    tell_address(call, gateway, address)


@command("devbox token revoke hello 3f2a")
async def revoke(
    call: Call, name: ProjectName, token_id: TokenId, namespace: Namespace = ""
) -> None:
    """Take one token back. What is connected with it is cut off."""
    from devbox.cli.reach import open_project
    from devbox.model.orchestrator import RevokeToken

    async with open_project(call, name, namespace) as (gateway, key):
        await gateway.api.revoke_token(
            RevokeToken(namespace=key.namespace, name=key.name, token_id=token_id)
        )
    call.screen.answer({"revoked": token_id})
    call.screen.say(f"Token {token_id} is revoked.")


@command("devbox user list")
async def list_users(call: Call) -> None:
    """List who may use the gateway."""
    from devbox.cli.reach import open_gateway
    from devbox.model.orchestrator import Nothing

    async with open_gateway(call) as gateway:
        found = await gateway.api.list_users(Nothing())
    call.screen.answer(found)
    rows = [
        (one.name, "admin" if one.admin else "user", ", ".join(one.namespaces) or "-")
        for one in found.users
    ]
    call.screen.table(("user", "role", "namespaces"), rows)


@command("devbox user add anna --namespace team", "devbox user add root2 --admin")
async def add_user(
    call: Call,
    name: UserName,
    namespace: Annotated[
        list[str], typer.Option("--namespace", "-n", metavar="NS", help="What they may use.")
    ] = [],
    admin: Annotated[bool, typer.Option("--admin", help="They may see and do all.")] = False,
) -> None:
    """Add a user and print the token, once."""
    from devbox.cli.reach import open_gateway
    from devbox.model.names import check_label
    from devbox.model.orchestrator import MakeUser

    if not admin and not namespace:
        raise BadInput(f"{name} would see no namespace", "Give --namespace NS, or --admin.")
    places = tuple(check_label(one, "namespace") for one in namespace)
    async with open_gateway(call) as gateway:
        made = await gateway.api.make_user(MakeUser(name=name, admin=admin, namespaces=places))
    call.screen.answer(made)
    call.screen.say("Token (a secret; shown once):")
    call.screen.say(f"  {made.token}")
    call.screen.note(f"There: devbox login {gateway.context.url} --namespace {(*places, 'NS')[0]}")


@command("devbox user remove anna")
async def remove_user(call: Call, name: UserName) -> None:
    """Remove a user. The token ends at once; the projects stay."""
    from devbox.cli.reach import open_gateway
    from devbox.model.orchestrator import UserKey

    async with open_gateway(call) as gateway:
        await gateway.api.delete_user(UserKey(name=name))
    call.screen.answer({"removed": name})
    call.screen.say(f"{name} is removed.")


token_app = group("A project's tokens.", list=list_tokens, new=new, rotate=rotate, revoke=revoke)
user_app = group("Who may use the gateway.", list=list_users, add=add_user, remove=remove_user)
