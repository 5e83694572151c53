import { useState } from "preact/hooks";
import { json, session } from "../api/client";
import type { UsageDay, UsageReport } from "../api/types";
import { money, moment, t } from "../i18n";
import { Frame } from "./frame";
import { useLoaded } from "./load";
import { LoadState } from "./state";

const DAY = 86_400_000;
const day = (milliseconds: number) => new Date(milliseconds).toISOString().slice(0, 10);

const NUMBERS = ["requests", "prompt_tokens", "cache_hit_tokens", "completion_tokens", "reasoning_tokens", "micro_units"] as const;

export function totalOf(days: readonly UsageDay[]): Record<(typeof NUMBERS)[number], number> {
  const total = Object.fromEntries(NUMBERS.map((name) => [name, 0])) as Record<(typeof NUMBERS)[number], number>;
  for (const one of days) for (const name of NUMBERS) total[name] += one[name];
  return total;
}

function Balance({ report }: { report: UsageReport }) {
  const { balance, currency } = report;
  if (!balance || !currency) return null;
  const parts = [
    ["balance", balance.total],
    ["balance.granted", balance.granted],
    ["balance.topped", balance.topped_up],
  ] as const;
  return (
    <dl class="figures">
      {parts.map(([label, amount]) => (
        <div key={label}>
          <dt>{t(label)}</dt>
          <dd>{money(amount, currency)}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Output by day as bars; the table under it has the numbers. */
function Bars({ days }: { days: readonly UsageDay[] }) {
  const byDay = Map.groupBy(days, ({ date }) => date);
  const sums = [...byDay].map(([date, rows]) => [date, totalOf(rows).completion_tokens] as const).sort();
  const most = Math.max(1, ...sums.map(([, tokens]) => tokens));
  const width = 100 / Math.max(sums.length, 14);
  return (
    <svg class="bars" viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true">
      {sums.map(([date, tokens], index) => {
        const height = (tokens / most) * 29;
        return <rect key={date} x={index * width + width * 0.15} y={30 - height} width={width * 0.7} height={height} />;
      })}
    </svg>
  );
}

function Table({ days, currency }: { days: readonly UsageDay[]; currency: string | null }) {
  const cells = (row: ReturnType<typeof totalOf>) => (
    <>
      <td>{row.requests.toLocaleString()}</td>
      <td>{row.prompt_tokens.toLocaleString()}</td>
      <td>{row.cache_hit_tokens.toLocaleString()}</td>
      <td>{row.completion_tokens.toLocaleString()}</td>
      <td>{row.reasoning_tokens.toLocaleString()}</td>
      {currency && <td>{money(row.micro_units, currency)}</td>}
    </>
  );
  const heads = ["usage.day", "model", "usage.requests", "usage.prompt", "usage.cached", "usage.completion", "usage.thought"] as const;
  return (
    <div class="table-frame" tabIndex={0}>
      <table class="numbers">
        <thead>
          <tr>
            {heads.map((head) => (
              <th key={head} scope="col">
                {t(head)}
              </th>
            ))}
            {currency && <th scope="col">{t("usage.cost")}</th>}
          </tr>
        </thead>
        <tbody>
          {days.map((row) => (
            <tr key={row.date + row.model}>
              <th scope="row">{row.date}</th>
              <td>{row.model}</td>
              {cells(row)}
            </tr>
          ))}
        </tbody>
        <tfoot>
          <tr>
            <th scope="row">{t("usage.total")}</th>
            <td />
            {cells(totalOf(days))}
          </tr>
        </tfoot>
      </table>
    </div>
  );
}

function PriceTable() {
  const prices = session.value?.prices;
  if (!prices) return null;
  return (
    <section>
      <h2>{t("prices")}</h2>
      <div class="table-frame" tabIndex={0}>
        <table class="numbers">
          <thead>
            <tr>
              <th scope="col">{t("model")}</th>
              <th scope="col">{t("prices.hit")}</th>
              <th scope="col">{t("prices.miss")}</th>
              <th scope="col">{t("prices.output")}</th>
            </tr>
          </thead>
          <tbody>
            {Object.entries(prices.models).map(([model, price]) => (
              <tr key={model}>
                <th scope="row">{model}</th>
                <td>{money(price.cache_hit, prices.currency)}</td>
                <td>{money(price.cache_miss, prices.currency)}</td>
                <td>{money(price.output, prices.currency)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {prices.until !== null && <p class="muted">{t("prices.until", { time: moment(prices.until) })}</p>}
    </section>
  );
}

export function Usage() {
  const now = Date.now();
  const [from, setFrom] = useState(day(now - 29 * DAY));
  const [to, setTo] = useState(day(now));
  const loaded = useLoaded(() => json<UsageReport>("GET", `/usage?from=${from}&to=${to}`), `${from} ${to}`);
  const report = loaded.value;
  return (
    <Frame title={t("usage")} text={t("usage.text")}>
      {report && <Balance report={report} />}
      <form class="inline-form" onSubmit={(event) => event.preventDefault()}>
        <label class="field">
          <span>{t("usage.from")}</span>
          <input type="date" value={from} max={to} onChange={(event) => event.currentTarget.value && setFrom(event.currentTarget.value)} />
        </label>
        <label class="field">
          <span>{t("usage.to")}</span>
          <input type="date" value={to} min={from} onChange={(event) => event.currentTarget.value && setTo(event.currentTarget.value)} />
        </label>
      </form>
      {!report || loaded.error ? (
        <LoadState loaded={loaded} />
      ) : report.days.length === 0 ? (
        <p class="muted">{t("usage.none")}</p>
      ) : (
        <>
          <Bars days={report.days} />
          <Table days={report.days} currency={report.currency} />
        </>
      )}
      <PriceTable />
    </Frame>
  );
}
