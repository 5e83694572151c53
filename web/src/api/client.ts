/** Requests to the server: the session's token with everything that changes something, errors as `ApiError`. */

import { signal } from "@preact/signals";
import type { Session } from "./types";

export const session = signal<Session | null>(null);

const ROOT = "/app/api";

export class ApiError extends Error {
  constructor(
    readonly status: number, // 0: the server was not reached
    readonly code: string,
    message: string,
    readonly param: string | null = null,
    readonly retryAfter: number | null = null, // seconds
  ) {
    super(message);
  }
}

type Method = "GET" | "POST" | "PATCH" | "DELETE";

async function send(method: Method, path: string, body: unknown, signal: AbortSignal | null): Promise<Response> {
  const headers: Record<string, string> = {};
  if (method !== "GET") headers["X-Ponder-CSRF"] = session.value?.csrf ?? "";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(ROOT + path, {
      method,
      headers,
      signal,
      credentials: "same-origin",
      cache: "no-store",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "offline", String(error));
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response: Response): Promise<ApiError> {
  const text = await response.text();
  const wait = Number(response.headers.get("Retry-After") ?? "");
  const retryAfter = wait > 0 ? wait : null;
  try {
    const { error } = JSON.parse(text) as { error: { code?: string; message?: string; param?: string | null } };
    return new ApiError(response.status, error.code ?? "", error.message ?? "", error.param ?? null, retryAfter);
  } catch {
    return new ApiError(response.status, "", `HTTP ${response.status}`, null, retryAfter);
  }
}

/** A request; once more with a new token where the server says that the old one is void. */
export async function request(
  method: Method,
  path: string,
  body?: unknown,
  signal: AbortSignal | null = null,
): Promise<Response> {
  try {
    return await send(method, path, body, signal);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.code === "login_required" && session.value) session.value = { ...session.value, account: null };
    if (error.code !== "csrf" || method === "GET") throw error;
    await loadSession();
    return send(method, path, body, signal);
  }
}

export async function json<T>(method: Method, path: string, body?: unknown): Promise<T> {
  return (await (await request(method, path, body)).json()) as T;
}

export async function loadSession(): Promise<Session> {
  session.value = await json<Session>("GET", "/session");
  return session.value;
}

/** The address of a file for the browser to save. */
export function fileAddress(path: string): string {
  return ROOT + path;
}
