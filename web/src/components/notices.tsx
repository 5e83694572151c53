import { session } from "../api/client";
import { language } from "../i18n";

/** What the server has to say to everybody at the moment. */
export function Notices() {
  const notices = session.value?.notices ?? [];
  return (
    <>
      {notices.map(({ id, level, text }) => (
        <p key={id} class={`notice ${level}`} role="status">
          {text[language.value]}
        </p>
      ))}
    </>
  );
}
