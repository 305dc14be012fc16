import type { HttpMethod, PathsWithMethod } from "openapi-typescript-helpers";
import { vi } from "vitest";

import type { components, paths } from "@/api/schema";

type Body<Operation, Status> = Operation extends { responses: infer Responses }
  ? Status extends keyof Responses
    ? Responses[Status] extends { content: infer Content }
      ? Content[keyof Content]
      : undefined
    : never
  : never;

/** One request that the page made. */
export interface Asked {
  method: string;
  path: string;
  headers: Headers;
  /** The body, read as JSON. */
  body: unknown;
}

/** Stands in for the server: answers have the types of the API's document. What was not foreseen is a 404. */
export class MockApi {
  /** What was asked for so far, in order. */
  readonly asked: Asked[] = [];
  readonly #answers = new Map<string, () => Response | Promise<Response>>();

  constructor() {
    vi.stubGlobal("fetch", (request: Request) => this.#answer(request));
  }

  /** From now on answers this; parameters of the path are written as values. */
  on<Method extends HttpMethod, Path extends PathsWithMethod<paths, Method>, Status extends number>(
    method: Method,
    path: Path,
    status: Status,
    body: Body<paths[Path][Method & keyof paths[Path]], Status>,
  ): this {
    this.#answers.set(`${method.toUpperCase()} ${String(path)}`, () =>
      body === undefined ? new Response(null, { status }) : Response.json(body, { status }),
    );
    return this;
  }

  /** From now on answers this error. */
  fail(
    method: HttpMethod,
    path: keyof paths,
    problem: { status: number; code: string; detail: string; errors?: components["schemas"]["FieldError"][]; retryAfter?: number },
  ): this {
    const { retryAfter, ...rest } = problem;
    const headers = { "Content-Type": "application/problem+json", ...(retryAfter !== undefined && { "Retry-After": String(retryAfter) }) };
    this.#answers.set(`${method.toUpperCase()} ${path}`, () =>
      Response.json({ title: "Error", request_id: "r", ...rest }, { status: rest.status, headers }),
    );
    return this;
  }

  /** From now on does not answer. */
  hang(method: HttpMethod, path: keyof paths): this {
    this.#answers.set(`${method.toUpperCase()} ${path}`, () => new Promise(() => {}));
    return this;
  }

  async #answer(request: Request): Promise<Response> {
    const path = new URL(request.url).pathname;
    const text = await request.text();
    this.asked.push({
      method: request.method,
      path,
      headers: request.headers,
      body: text === "" ? undefined : JSON.parse(text),
    });
    const found = [...this.#answers].find(([key]) => isSame(key, `${request.method} ${path}`));
    return found?.[1]() ?? Response.json({ code: "not_found", detail: "not foreseen by the test", title: "Not Found" }, { status: 404 });
  }
}

/** Whether a request is for a key of the document, `{parameters}` standing for anything. */
function isSame(key: string, asked: string): boolean {
  const [wanted, given] = [key.split("/"), asked.split("/")];
  return wanted.length === given.length && wanted.every((part, place) => part.startsWith("{") || part === given[place]);
}

/** Somebody who is signed in. */
export function aSession(user: Partial<components["schemas"]["User"]> = {}): components["schemas"]["ProfileAnswer"] {
  return {
    csrfToken: "proof",
    impersonatedBy: null,
    balance: { gbBalance: 5, gbUsed: 1.5, balanceBytes: 5_000_000_000, usedBytes: 1_500_000_000 },
    plan: {
      id: "01900000-0000-7000-8000-000000000001",
      name: "Starter",
      description: "Pay as you go",
      pricePerGb: "5.00",
      priceMonthly: 0,
      priceAnnual: null,
      includedGb: null,
      requestsPerDay: 10_000,
      maxConcurrentConnections: 100,
      cityTargeting: false,
      asnTargeting: false,
      stickySessions: true,
      features: [],
    },
    user: {
      id: "01900000-0000-7000-8000-000000000002",
      email: "ada@example.com",
      firstName: "Ada",
      lastName: "Byron",
      company: null,
      phone: null,
      timeZone: "UTC",
      role: "customer",
      status: "active",
      emailVerified: true,
      createdAt: "2026-11-01T00:00:00Z",
      updatedAt: "2026-11-01T00:00:00Z",
      lastLoginAt: null,
      ...user,
    },
  };
}
