/** What the API says of an error: a problem document (RFC 9457), see `Problem` in its OpenAPI document. */
interface Problem {
  title: string;
  code: string;
  detail: string;
  hint?: string;
  request_id?: string;
  errors?: { field: string; message: string }[];
}

/** Codes of a login that is over, or that this account or network may not use any more. */
const LOGIN_OVER = new Set([
  "login_required",
  "token_invalid",
  "token_expired",
  "token_revoked",
  "login_idle",
  "address_not_allowed",
  "account_suspended",
]);

/** An answer that is no success, or none at all. Its `message` is for people, as it is. */
export class ApiError extends Error {
  override name = "ApiError";

  constructor(
    /** HTTP status; 0: there was no answer. */
    readonly status: number,
    /** Stable name of the error: branch on this one. */
    readonly code: string,
    readonly title: string,
    /** What happened. */
    readonly detail: string,
    /** What is wrong with each field of the request, by its name there. */
    readonly fields: Readonly<Record<string, string>> = {},
    /** Seconds after which to try again. */
    readonly retryAfter?: number,
    /** Names the request in the server's logs. */
    readonly requestId?: string,
  ) {
    super(detail);
  }

  /** Whether to sign in again. */
  get isLoginOver(): boolean {
    return this.status === 401 && LOGIN_OVER.has(this.code);
  }

  /** Reads an answer that is no success. */
  static async from(response: Response): Promise<ApiError> {
    const problem = await readProblem(response);
    const fields = Object.fromEntries((problem?.errors ?? []).map(({ field, message }) => [field, message]));
    return new ApiError(
      response.status,
      problem?.code ?? "unknown",
      problem?.title ?? "Error",
      problem?.detail ?? `The server answered ${response.status} without a reason.`,
      fields,
      seconds(response.headers.get("Retry-After")),
      problem?.request_id,
    );
  }

  /** For a server that can't be reached. */
  static unreachable(cause: unknown): ApiError {
    const error = new ApiError(0, "unreachable", "No answer", "The server can’t be reached. Check your connection and try again.");
    error.cause = cause;
    return error;
  }
}

async function readProblem(response: Response): Promise<Problem | undefined> {
  if (!response.headers.get("Content-Type")?.includes("json")) return undefined;
  try {
    const body: unknown = await response.json();
    return isProblem(body) ? body : undefined;
  } catch {
    return undefined;
  }
}

function isProblem(body: unknown): body is Problem {
  return typeof body === "object" && body !== null && "code" in body && "detail" in body;
}

function seconds(header: string | null): number | undefined {
  const value = Number(header);
  return header !== null && Number.isFinite(value) && value >= 0 ? value : undefined;
}
