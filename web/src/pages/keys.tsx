import { useState } from "preact/hooks";
import { json, request } from "../api/client";
import type { ApiKey } from "../api/types";
import { Confirm, Dialog } from "../components/dialog";
import { attempt } from "../components/toast";
import { copyText } from "../clipboard";
import { moment, t } from "../i18n";
import { Frame } from "./frame";
import { useLoaded } from "./load";
import { LoadState } from "./state";

function NewKey({ apiKey, onClose }: { apiKey: ApiKey; onClose: () => void }) {
  return (
    <Dialog title={t("keys.created.title")} onClose={onClose}>
      <p>{t("keys.created.text")}</p>
      <div class="secret">
        <code>{apiKey.key}</code>
        <button type="button" class="button small" onClick={(event) => void copyText(apiKey.key ?? "", event.currentTarget)}>
          {t("copy")}
        </button>
      </div>
      <div class="dialog-actions">
        <button type="button" class="button primary" onClick={onClose}>
          {t("close")}
        </button>
      </div>
    </Dialog>
  );
}

function Row({ apiKey, onGone }: { apiKey: ApiKey; onGone: () => void }) {
  const [revoking, setRevoking] = useState(false);
  const revoke = async () => {
    if (await attempt(() => request("DELETE", `/keys/${apiKey.id}`))) onGone();
  };
  return (
    <tr>
      <th scope="row">{apiKey.name}</th>
      <td>
        <code>…{apiKey.last4}</code>
      </td>
      <td>{moment(apiKey.created)}</td>
      <td>{apiKey.last_used === null ? t("keys.never") : moment(apiKey.last_used)}</td>
      <td>
        <button type="button" class="link-button danger" onClick={() => setRevoking(true)}>
          {t("keys.revoke")}
        </button>
        {revoking && (
          <Confirm
            title={t("keys.revoke.title")}
            text={t("keys.revoke.text", { name: apiKey.name })}
            action={t("keys.revoke")}
            onConfirm={() => void revoke()}
            onClose={() => setRevoking(false)}
          />
        )}
      </td>
    </tr>
  );
}

export function Keys() {
  const loaded = useLoaded(() => json<{ data: ApiKey[] }>("GET", "/keys"), "");
  const [name, setName] = useState("");
  const [made, setMade] = useState<ApiKey | null>(null);
  const create = async (event: SubmitEvent) => {
    event.preventDefault();
    await attempt(async () => setMade(await json<ApiKey>("POST", "/keys", { name: name.trim() })));
    setName("");
    loaded.reload();
  };
  const keys = loaded.value?.data ?? [];
  return (
    <Frame title={t("keys")} text={t("keys.text")}>
      <form class="inline-form" onSubmit={(event) => void create(event)}>
        <label class="field">
          <span>{t("keys.name")}</span>
          <input
            required
            maxLength={100}
            placeholder={t("keys.name.placeholder")}
            value={name}
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="button primary" disabled={!name.trim()}>
          {t("keys.create")}
        </button>
      </form>
      {!loaded.value && <LoadState loaded={loaded} />}
      {loaded.value && keys.length === 0 && <p class="muted">{t("keys.none")}</p>}
      {keys.length > 0 && (
        <div class="table-frame" tabIndex={0}>
          <table class="key-table">
            <thead>
              <tr>
                <th scope="col">{t("keys.name")}</th>
                <th scope="col">{t("keys")}</th>
                <th scope="col">{t("keys.created")}</th>
                <th scope="col">{t("keys.used")}</th>
                <th scope="col">
                  <span class="visually-hidden">{t("keys.revoke")}</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {keys.map((apiKey) => (
                <Row key={apiKey.id} apiKey={apiKey} onGone={loaded.reload} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {made && <NewKey apiKey={made} onClose={() => setMade(null)} />}
    </Frame>
  );
}
