const PATHS = {
  plus: "M12 5v14M5 12h14",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM20 20l-4-4",
  sidebar: "M4 5h16v14H4zM10 5v14",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  spark: "M12 4v3M12 17v3M4 12h3M17 12h3M6.5 6.5l2 2M15.5 15.5l2 2M6.5 17.5l2-2M15.5 8.5l2-2",
  columns: "M4 5h7v14H4zM13 5h7v14h-7z",
  copy: "M9 9h10v10H9zM5 15V5h10",
  redo: "M19 8v5h-5M19 13a7 7 0 1 0-2 4",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  chevron: "M7 10l5 5 5-5",
  check: "M5 12l5 5 9-10",
  close: "M6 6l12 12M18 6L6 18",
  key: "M15 5a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 12l-8 8M7 17l2 2",
  chart: "M5 20V10M12 20V4M19 20v-7",
  gear: "M4 7h10M18 7h2M4 17h2M10 17h10M16 5v4M8 15v4",
  user: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM5 20c1-4 4-5 7-5s6 1 7 5",
  shield: "M12 3l7 3v6c0 4-3 7-7 9-4-2-7-5-7-9V6z",
  exit: "M10 5H5v14h5M14 8l4 4-4 4M18 12H9",
  skip: "M5 6l7 6-7 6zM14 6v12M19 6v12",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
