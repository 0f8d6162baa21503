"""Calls about tokens and users."""

import secrets

from controller.calls.context import Calls
from controller.calls.projects import alive, first_token
from controller.store import people, projects
from controller.turns import Turn
from devbox.model import orchestrator as o
from devbox.model.errors import BadInput, Conflict, NotFound, Unauthorized
from devbox.model.grants import Scope
from devbox.model.names import check_label
from devbox.model.projects import TokenInfo, User
from devbox.model.tokens import token_hash

_NO = "the credential is not valid"


class PeopleCalls(Calls):
    """Who may do what. Tokens are told once and kept as hashes."""

    async def list_tokens(self, request: o.ProjectKey) -> o.Tokens:
        """A project's tokens."""
        db = self._c.db.reader
        row = projects.named(db, request.namespace, request.name)
        return o.Tokens(tokens=people.tokens(db, row.uid))

    async def new_token(self, request: o.NewToken) -> o.TokenSecret:
        """Add a token."""
        if request.lifetime_s < 0:
            raise BadInput("a token's lifetime is negative", "Use 0 for one that never ends.")
        if not request.scopes or Scope.REVOKE in request.scopes:
            raise BadInput("the token's scopes are not valid", "Use full, ssh, lsp, ports, …")

        def work(turn: Turn) -> o.TokenSecret:
            row = alive(projects.named(turn.db, request.namespace, request.name))
            info = TokenInfo(
                id=secrets.token_hex(8),
                name=request.token_name,
                scopes=request.scopes,
                created_at=turn.now,
                expires_at=turn.now + request.lifetime_s if request.lifetime_s else 0.0,
            )
            return _add(turn, row.uid, info)

        return await self._c.turns.take(work)

    async def rotate_tokens(self, request: o.RotateTokens) -> o.TokenSecret:
        """Replace tokens; the old ones end at once."""

        def work(turn: Turn) -> o.TokenSecret:
            row = alive(projects.named(turn.db, request.namespace, request.name))
            if request.token_id:
                kept = people.token(turn.db, row.uid, request.token_id)
                people.revoke(turn.db, kept.id)
                return _add(turn, row.uid, _renewed(kept, turn.now))
            for info in people.tokens(turn.db, row.uid):
                people.revoke(turn.db, info.id)
            return _add(turn, row.uid, first_token(turn.now))

        return await self._c.turns.take(work)

    async def revoke_token(self, request: o.RevokeToken) -> o.Nothing:
        """Take a token back."""

        def work(turn: Turn) -> None:
            row = projects.named(turn.db, request.namespace, request.name)
            people.revoke(turn.db, people.token(turn.db, row.uid, request.token_id).id)

        await self._c.turns.take(work)
        return o.Nothing()

    async def check_token(self, request: o.CheckToken) -> o.CheckedToken:
        """Validate a project token. Every no takes the same way through here."""
        db = self._c.db.reader
        uid = projects.uid_of(db, request.namespace, request.name)
        info = people.token_of_hash(db, uid, _ascii(request.token_hash), self._c.clock())
        row = projects.by_uid(db, uid) if info else None
        if info is None or row is None:
            raise Unauthorized(_NO)
        return o.CheckedToken(
            project=row.public,
            token_id=info.id,
            scopes=info.scopes,
            expires_at=info.expires_at,
        )

    async def check_user(self, request: o.CheckUser) -> User:
        """Validate a user token."""
        user = people.user_of_hash(self._c.db.reader, _ascii(request.token_hash))
        if user is None:
            raise Unauthorized(_NO)
        return user

    async def make_user(self, request: o.MakeUser) -> o.UserSecret:
        """Add a user."""
        check_label(request.name, "user")
        for namespace in request.namespaces:
            check_label(namespace, "namespace")
        token = secrets.token_hex(16)

        def work(turn: Turn) -> User:
            if any(user.name == request.name for user in people.users(turn.db)):
                raise Conflict(f"there is a user {request.name} already", "Choose another name.")
            user = User(
                name=request.name,
                admin=request.admin,
                namespaces=request.namespaces,
                token_id=secrets.token_hex(8),
            )
            people.add_user(turn.db, user, token_hash(token))
            return user

        return o.UserSecret(user=await self._c.turns.take(work), token=token)

    async def list_users(self, request: o.Nothing) -> o.Users:  # noqa: ARG002
        """All users."""
        return o.Users(users=people.users(self._c.db.reader))

    async def delete_user(self, request: o.UserKey) -> o.Nothing:
        """Remove a user; the token ends at once."""

        def work(turn: Turn) -> None:
            users = people.users(turn.db)
            found = [user for user in users if user.name == request.name]
            if not found:
                raise NotFound(f"there is no user {request.name}")
            if found[0].admin and sum(user.admin for user in users) == 1:
                raise Conflict(
                    f"{request.name} is the only admin",
                    "Make another admin first; nothing changed.",
                )
            people.delete_user(turn.db, found[0])

        await self._c.turns.take(work)
        return o.Nothing()


def _add(turn: Turn, project_uid: str, info: TokenInfo) -> o.TokenSecret:
    token = secrets.token_hex(16)
    people.add_token(turn.db, project_uid, info, token_hash(token))
    return o.TokenSecret(info=info, token=token)


def _renewed(kept: TokenInfo, now: float) -> TokenInfo:
    return TokenInfo(
        id=secrets.token_hex(8),
        name=kept.name,
        scopes=kept.scopes,
        created_at=now,
        expires_at=kept.expires_at,
    )


def _ascii(text: str) -> str:
    return text if text.isascii() else ""
