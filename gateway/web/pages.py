"""The pages: what this is, and that there is nothing at some path."""

import html

from aiohttp import web

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:38rem;margin:4rem auto;padding:0 1rem}}
code{{background:#eee;padding:.1em .3em}}</style>
<h1>{title}</h1>
{body}
</html>
"""
_HOME = """<p>This is the gateway of cluster <b>{cluster}</b>, region <b>{region}</b>: the one door
to the projects that run here. A project is a container whose files survive.</p>
<p>Install the command line, then <code>devbox login</code> with this page's address, and
<code>devbox create hello --runtime python</code>.</p>
<p>The HTTP API is described in <a href="/api/v1/openapi.json">its OpenAPI document</a>.</p>"""


def home(cluster: str, region: str) -> web.Response:
    """What this is."""
    body = _HOME.format(cluster=html.escape(cluster), region=html.escape(region))
    return _page("Devbox", body, 200)


def missing() -> web.Response:
    """There is nothing here; repeats nothing of the path, which may hold a token."""
    return _page("Nothing here", "<p>There is no such page.</p>", 404)


def _page(title: str, body: str, status: int) -> web.Response:
    return web.Response(
        status=status,
        text=_PAGE.format(title=title, body=body),
        content_type="text/html",
        headers=_HEADERS,
    )
