import type { Message } from "../api/types";
import { t } from "../i18n";

/** Why an answer ended before it was complete; null where it did not. */
export function cutShort(message: Message): string | null {
  const reason = message.finish_reason;
  switch (reason) {
    case "error":
      return t("finish.error", { reason: message.error ?? "" });
    case "length":
    case "cancelled":
    case "interrupted":
    case "insufficient_system_resource":
      return t(`finish.${reason}`);
    default:
      return null;
  }
}
