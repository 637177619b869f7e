/**
 * The Open Inference Protocol over REST:
 *
 *   GET  /v2, /v2/health/live, /v2/health/ready
 *   GET  /v2/models/M[/versions/V][/ready|/config|/stats], /v2/models/stats
 *   POST /v2/models/M[/versions/V]/infer
 *   POST /v2/repository/index, /v2/repository/models/M/load, /v2/repository/models/M/unload
 */
import { GrpcStatus, oipHttpStatusFor } from '../../../base/grpc-status.ts';
import type { Logger } from '../../../base/logger.ts';
import { WorkerError } from '../../worker-error.ts';
import { EMPTY_BODY, type HttpApi, type HttpCall, JSON_TYPE } from '../rest/http-call.ts';
import { internalError, reasonFields } from '../rest/rest-failure.ts';
import { modelNotReady, repositoryUnsupported, requestExpired } from './oip-errors.ts';
import { asOipFailure } from './oip-failure.ts';
import type { OipInference } from './oip-inference.ts';
import { modelConfigObject } from './oip-model-config.ts';
import { OipRestInfer } from './oip-rest-infer.ts';
import type { OipService } from './oip-service.ts';
import { statisticsObject } from './oip-statistics.ts';

const MODEL_PATH = /^\/v2\/models\/([^/]+)(?:\/versions\/([^/]+))?(?:\/(ready|config|stats|infer))?$/;
const REPOSITORY_PATH = /^\/v2\/repository(?:\/([^/]+))?\/(?:(index)|models\/([^/]+)\/(load|unload))$/;

export function replyOipFailure(call: HttpCall, error: WorkerError): void {
  const body = Buffer.from(JSON.stringify({ error: error.message }));
  call.reply(oipHttpStatusFor(error.code), JSON_TYPE, body, reasonFields(error));
}

export class OipRestApi implements HttpApi {
  private readonly oip: OipService;
  private readonly log: Logger;
  private readonly infer: OipRestInfer;

  constructor(oip: OipService, inference: OipInference, log: Logger) {
    this.oip = oip;
    this.log = log;
    this.infer = new OipRestInfer(inference);
  }

  handle(call: HttpCall): boolean {
    const { path } = call.request;
    if (path !== '/v2' && !path.startsWith('/v2/')) return false;
    if (call.request.method === 'OPTIONS') {
      call.reply(200, JSON_TYPE, EMPTY_BODY);
      return true;
    }
    try {
      this.act(call, path);
    } catch (error) {
      this.fail(call, error);
    }
    return true;
  }

  expire(call: HttpCall): void {
    replyOipFailure(call, requestExpired());
  }

  private act(call: HttpCall, path: string): void {
    const model = MODEL_PATH.exec(path);
    if (model !== null && !(model[1] === 'stats' && model[2] === undefined && model[3] === undefined)) {
      this.actOnModel(call, decoded(model[1]!), decoded(model[2] ?? ''), model[3] ?? 'metadata');
      return;
    }
    const repository = REPOSITORY_PATH.exec(path);
    if (repository !== null && this.oip.options.managesModels) {
      const [, repositoryName, index, model, action] = repository;
      if (repositoryName !== undefined) throw repositoryUnsupported();
      if (index !== undefined) this.index(call);
      else this.changeModel(call, decoded(model!), action!);
      return;
    }
    this.actOnServer(call, path.length > 3 && path.endsWith('/') ? path.slice(0, -1) : path);
  }

  private actOnServer(call: HttpCall, path: string): void {
    switch (path) {
      case '/v2':
        this.mustBe(call, 'GET');
        replyJson(call, {
          name: this.oip.options.serverName,
          version: this.oip.options.serverVersion,
          extensions: this.oip.extensions,
        });
        return;
      case '/v2/health/live':
      case '/v2/health/ready':
        this.mustBe(call, 'GET');
        call.reply(path.endsWith('live') || this.oip.serverReady ? 200 : 400, JSON_TYPE, EMPTY_BODY);
        return;
      case '/v2/models/stats':
        this.mustBe(call, 'GET');
        replyJson(call, statisticsObject(this.oip.measured('', '')));
        return;
      default:
        throw new WorkerError(GrpcStatus.NOT_FOUND, 'Not Found');
    }
  }

  private actOnModel(call: HttpCall, name: string, version: string, action: string): void {
    this.mustBe(call, action === 'infer' ? 'POST' : 'GET');
    switch (action) {
      case 'infer':
        this.infer.handle(call, name, version);
        return;
      case 'ready':
        if (!this.oip.modelReady(name, version)) throw modelNotReady();
        call.reply(200, JSON_TYPE, EMPTY_BODY);
        return;
      case 'config':
        replyJson(call, modelConfigObject(this.oip, name, version));
        return;
      case 'stats':
        replyJson(call, statisticsObject(this.oip.measured(name, version)));
        return;
      default:
        replyJson(call, this.oip.modelMetadata(name, version));
    }
  }

  private index(call: HttpCall): void {
    this.mustBe(call, 'POST');
    const { ready } = bodyObject(call) as { ready?: unknown };
    const entries = this.oip.index(ready === true);
    replyJson(
      call,
      entries.map(({ name, version, state, reason }) => ({
        name,
        ...(version === '' ? {} : { version }),
        ...(state === '' ? {} : { state }),
        ...(reason === '' ? {} : { reason }),
      })),
    );
  }

  private changeModel(call: HttpCall, name: string, action: string): void {
    this.mustBe(call, 'POST');
    const { parameters } = bodyObject(call) as { parameters?: object | null };
    const given = Object.keys(parameters ?? {});
    const done = action === 'load' ? this.oip.load(name, given) : this.oip.unload(name, given);
    done.then(
      () => call.reply(200, JSON_TYPE, EMPTY_BODY),
      (error) => this.fail(call, error),
    );
  }

  private mustBe(call: HttpCall, method: string): void {
    if (call.request.method === method) return;
    call.reply(405, JSON_TYPE, Buffer.from('{"error":"Method Not Allowed"}'), [['allow', method]]);
    throw ANSWERED;
  }

  private fail(call: HttpCall, error: unknown): void {
    if (error === ANSWERED) return;
    const failure = asOipFailure(error);
    if (failure === null) this.log.error('rest_call_threw', { path: call.request.path, error });
    replyOipFailure(call, failure ?? internalError(error));
  }
}

/** Ends the handling of a call that has its answer. */
const ANSWERED = new Error('answered');

function replyJson(call: HttpCall, value: object): void {
  call.reply(200, JSON_TYPE, Buffer.from(JSON.stringify(value)));
}

/** The body of a rare request; none is an empty object. @throws WorkerError */
function bodyObject({ request }: HttpCall): object {
  const { body, start, end } = request;
  if (start === end) return {};
  try {
    const value: unknown = JSON.parse(body.toString('utf8', start, end));
    if (typeof value === 'object' && value !== null) return value;
  } catch {
    // Said below.
  }
  throw new WorkerError(GrpcStatus.INVALID_ARGUMENT, 'failed to parse the request JSON buffer');
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new WorkerError(GrpcStatus.INVALID_ARGUMENT, `malformed name '${text}' in the path`);
  }
}
