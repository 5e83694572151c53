"""The server: an OpenAI-, DeepSeek- and Anthropic-compatible API, accounts, and the app in the browser.

A request passes from left to right, and its events come back the same way:

    server ─► doors ─► dialect ─► service ─► moderation, gate (room), meter (money) ─► backend

- `seams` and `records`: the protocols between the parts, and what passes through them. Read these two first; `site`
  builds all parts from the settings (`config`) and puts them together.
- `server`, `connection`, `hard_stop`, `dispatch`: listening, ending, and finding the route. `limits`: the doors, which
  look at a request before anybody reads it (host, size); the lanes, which keep places apart for sign-ups and logins;
  and the gate, the queue in front of a model.
- The dialects, each from a body to an `Ask` and from events to a reply: `wire` (OpenAI's and DeepSeek's, and what all
  share), `responses`, `anthropic`; `web_api` is the app's own, and `page` its built files.
- `service`: the one path of every request. `moderation`: the rules of the site. `ledger`: meter, prices, balances.
- The backends: `local` (an engine in this process), `upstream` (another server), `scripted` (for tests).
- `accounts` (who asks), `storage` (the database), `operations` (health, metrics, logs, drain), and `open_mode`: the
  parts that do nothing, where there are no accounts.
"""
