/** Which page an address shows. */

import { signal } from "@preact/signals";

export type Page = "login" | "register" | "keys" | "usage" | "settings" | "policy";

export type Route = { page: "chat"; id: string | null } | { page: Page } | { page: "missing" };

const PAGES: readonly string[] = ["login", "register", "keys", "usage", "settings", "policy"] satisfies Page[];

export function routeOf(path: string): Route {
  if (path === "/") return { page: "chat", id: null };
  const chat = /^\/c\/([\w-]+)$/.exec(path);
  if (chat) return { page: "chat", id: chat[1] as string };
  const name = path.slice(1);
  return PAGES.includes(name) ? { page: name as Page } : { page: "missing" };
}

export const route = signal<Route>(routeOf(location.pathname));

export function go(path: string, replace = false): void {
  if (path !== location.pathname) history[replace ? "replaceState" : "pushState"](null, "", path);
  route.value = routeOf(path);
}

/** Links to this page's own addresses change what is shown without loading it again. */
export function followLinks(): void {
  addEventListener("popstate", () => (route.value = routeOf(location.pathname)));
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (routeOf(link.pathname).page === "missing") return;
    event.preventDefault();
    go(link.pathname);
  });
}
