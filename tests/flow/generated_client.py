"""What an application does with a client that was generated from the API's document: send, and read the events of it.

Run by the Python that has the client's libraries: ``generated_client.py FOLDER URL TOKEN``. Prints the message's id and
the kinds of its events as JSON.
"""

import json
import sys
import time

folder, url, token = sys.argv[1:]
sys.path.insert(0, folder)

from imprimatur_client import AuthenticatedClient  # noqa: E402
from imprimatur_client.api.events import events_list  # noqa: E402
from imprimatur_client.api.messages import messages_send  # noqa: E402
from imprimatur_client.api.webhooks import webhooks_add  # noqa: E402
from imprimatur_client.models import MessageObject, NewWebhook  # noqa: E402

client = AuthenticatedClient(url, token, raise_on_unexpected_status=True)
webhook = webhooks_add.sync(client=client, body=NewWebhook("https://hooks.sender.example/mail", paused=True))
message = MessageObject("Ann <ann@sender.example>", to=["bob@example.com"], subject="Order 17", text="Thanks.")
sent = messages_send.sync(client=client, body=message)

kinds: list[str] = []
after, end = 0, time.monotonic() + 30
while "delivered" not in kinds and time.monotonic() < end:
    page = events_list.sync(client=client, after=after)
    after = page.next_
    kinds += [each["kind"] for each in page.items if each["message"] == sent.id]
    time.sleep(0.1)
print(json.dumps({"id": sent.id, "results": [each.status for each in sent.recipients], "kinds": kinds}))
