import { useMemo } from "preact/hooks";
import { json } from "../api/client";
import type { Appeal, Policy } from "../api/types";
import { TextStream } from "../chat/text-stream";
import { Markdown } from "../components/markdown";
import { language, moment, t } from "../i18n";
import { Frame } from "./frame";
import { useLoaded } from "./load";
import { LoadState } from "./state";

function Appeals() {
  const loaded = useLoaded(() => json<{ data: Appeal[] }>("GET", "/appeals"), "");
  const appeals = loaded.value?.data ?? [];
  if (appeals.length === 0) return null;
  return (
    <section>
      <h2>{t("appeals")}</h2>
      <ul class="cards">
        {appeals.map((appeal) => (
          <li key={appeal.id} class="card">
            <p class="card-head">
              <strong>{t(`appeals.${appeal.state}`)}</strong>
              <span class="muted">{moment(appeal.created)}</span>
            </p>
            <p>{appeal.text}</p>
            {appeal.answer && <blockquote>{appeal.answer}</blockquote>}
          </li>
        ))}
      </ul>
    </section>
  );
}

export function PolicyPage() {
  const loaded = useLoaded(() => json<Policy>("GET", `/policy?language=${language.value}`), language.value);
  const policy = loaded.value;
  const text = useMemo(() => new TextStream(policy?.markdown ?? "", true), [policy?.markdown]);
  return (
    <Frame title={policy?.title || t("policy")}>
      {!policy && <LoadState loaded={loaded} />}
      {policy && !policy.enabled && <p class="muted">{t("policy.none")}</p>}
      {policy?.enabled && (
        <>
          <Markdown stream={text} />
          <ul class="cards">
            {policy.rules.map((rule) => (
              <li key={rule.number} class="card">
                <p class="card-head">
                  <strong>
                    {rule.number}. {rule.title}
                  </strong>
                  <span class="tag">{t(`policy.${rule.action}`)}</span>
                </p>
                <p>{rule.description}</p>
              </li>
            ))}
          </ul>
          <Appeals />
        </>
      )}
    </Frame>
  );
}
