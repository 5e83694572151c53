"""What the parts of the server keep of an account, and what is left of it when the account is deleted: nothing."""

from sqlalchemy import Connection

from ponder.serve.moderation.appeals import delete_appeals_of
from ponder.serve.web_api.conversations import delete_conversations_of


def delete_belongings(connection: Connection, account: str) -> None:
    """For `on_deleted` of the accounts: within the transaction that deletes one."""
    delete_conversations_of(connection, account)
    delete_appeals_of(connection, account)
