"""`devbox login` and `devbox context`: gateways that this machine knows."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from devbox.cli import config
from devbox.cli.lazy import Call, command, group
from devbox.cli.options import TokenFile
from devbox.model.errors import BadInput, NotFound
from devbox.model.names import check_label

Url = Annotated[str, typer.Argument(metavar="URL", help="The gateway: https://host[:port].")]
ContextName = Annotated[str, typer.Argument(metavar="NAME", help="The context's name.")]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", metavar="FILE", help="Trust these authorities (PEM).")
]
DefaultNamespace = Annotated[
    str, typer.Option("--namespace", "-n", metavar="NS", help="Its namespace, unless you say one.")
]


@command(
    "devbox login https://devbox.example.com",
    "devbox login https://devbox.example.com --name work --token-file token.txt",
)
async def login(
    call: Call,
    url: Url,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Call it so.")] = "",
    namespace: DefaultNamespace = config.DEFAULT_NAMESPACE,
    ca_file: CaFile = None,
    token_file: TokenFile = None,
) -> None:
    """Keep a gateway and your token for it, after trying them."""
    from dataclasses import replace

    from devbox.cli.reach import open_api

    context = _context(name, url, namespace, ca_file)
    token = _read_token(token_file)
    async with open_api(context, token) as gateway:
        about = await gateway.api.about()
        user = await gateway.api.me()
    known = replace(context, cluster=about.cluster, region=about.region)
    config.put_context(known, token, use=True)
    call.screen.answer({"context": context.name, "url": context.url, "user": user.name})
    call.screen.say(f"{user.name} is logged in at {context.url} (context {context.name}).")


def _context(name: str, url: str, namespace: str, ca_file: Path | None) -> config.Context:
    checked = config.check_gateway_url(url)
    host = checked.split("://")[1].rsplit(":", 1)[0].strip("[]")
    guess = host.split(".")[0].lower() if not host.replace(".", "").isdigit() else "gateway"
    if ca_file is not None and not ca_file.is_file():
        raise BadInput(f"there is no file {ca_file}", "Give a file of certificates in PEM.")
    return config.Context(
        config.check_context_name(name or guess),
        checked,
        str(ca_file.resolve()) if ca_file else "",
        check_label(namespace, "namespace"),
    )


def _read_token(path: Path | None) -> str:
    """A token from a file, stdin or a prompt: never from an argument, which others can see."""
    from devbox.cli.files import read_text
    from devbox.model.tokens import check_token

    if path is not None and str(path) != "-":
        if not path.exists():
            raise BadInput(f"there is no file {path}", "Give the file that holds the token.")
        return check_token(read_text(path).strip())
    if path is not None or not sys.stdin.isatty():
        return check_token(sys.stdin.readline().strip())
    import getpass

    return check_token(getpass.getpass("Token (not shown): ").strip())


@command("devbox context list")
def list_contexts(call: Call) -> None:
    """List the gateways that this machine knows."""
    known = config.Config.read()
    contexts = dict(known.contexts)
    server = config.local_server()
    if server is not None:
        contexts.setdefault(config.LOCAL, server.context)
    try:
        current = config.choose(call.context)[0].name
    except (BadInput, NotFound):
        current = ""
    call.screen.answer({"current": current, "contexts": list(contexts.values())})
    if not contexts:
        call.screen.note("No gateway is known here yet. `devbox login URL` uses one.")
        return
    rows = [
        ("*" if name == current else "", name, context.url, context.namespace)
        for name, context in sorted(contexts.items())
    ]
    call.screen.table(("", "context", "url", "namespace"), rows)


@command("devbox context use work")
def use(call: Call, name: ContextName) -> None:
    """Make a context the current one."""
    config.use_context(name)
    call.screen.answer({"current": name})
    call.screen.say(f"{name} is the current context.")


@command("devbox context add work https://devbox.example.com --namespace team")
def add(
    call: Call,
    name: ContextName,
    url: Url,
    namespace: DefaultNamespace = config.DEFAULT_NAMESPACE,
    ca_file: CaFile = None,
    token_file: TokenFile = None,
) -> None:
    """Keep a gateway without asking it anything; `devbox login` also tries it."""
    token = _read_token(token_file) if token_file else ""
    context = _context(name, url, namespace, ca_file)
    config.put_context(context, token, use=False)
    call.screen.answer(context)
    call.screen.say(f"Context {name} is kept.")


@command("devbox context remove work")
def remove(call: Call, name: ContextName) -> None:
    """Forget a gateway, and the tokens kept for it."""
    config.remove_context(name)
    call.screen.answer({"removed": name})
    call.screen.say(f"Context {name} is forgotten. Its token still works until it is revoked.")


@command("devbox context show", "devbox context show work")
def show(
    call: Call,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Else the one used.")] = "",
) -> None:
    """Show one context; which credential there is, never the credential."""
    context, token = config.choose(name or call.context)
    projects = sorted(config.Credentials.read().projects.get(context.name, {}))
    call.screen.answer({"context": context, "user_token": bool(token), "project_tokens": projects})
    rows = [
        ("Context", context.name),
        ("Gateway", context.url),
        ("Namespace", context.namespace),
        ("Trusts", context.ca_file or "the system's authorities"),
        ("User token", "kept" if token else "none"),
        ("Project tokens", ", ".join(projects) or "none"),
    ]
    for label, text in rows:
        call.screen.say(f"{label + ':':<16}{text}")


app = group(
    "Gateways that this machine knows.",
    list=list_contexts,
    use=use,
    add=add,
    remove=remove,
    show=show,
)
