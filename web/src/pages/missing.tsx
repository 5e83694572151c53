import { Header } from "../components/header";
import { t } from "../i18n";

export function Missing() {
  return (
    <div class="page">
      <Header title="" />
      <div class="page-body centred">
        <h1>{t("not.found.title")}</h1>
        <p>{t("not.found.text")}</p>
        <a class="button primary" href="/">
          {t("new.chat")}
        </a>
      </div>
    </div>
  );
}
