import { t } from "../i18n";
import type { Loaded } from "./load";

/** Stands where something is still loading or could not be loaded. */
export function LoadState({ loaded }: { loaded: Pick<Loaded<unknown>, "error" | "reload"> }) {
  if (loaded.error === null) return <p class="muted">{t("loading")}</p>;
  return (
    <div class="problem" role="alert">
      <p>{loaded.error}</p>
      <button type="button" class="button small" onClick={loaded.reload}>
        {t("retry")}
      </button>
    </div>
  );
}
