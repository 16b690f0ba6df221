// An owner's app on both SDKs: logs in, onboards a thing, sends it commands, reads its states, has triggers send more.
'use strict';
const assert = require('node:assert/strict');
const kii = require('kii-cloud-sdk').create();
const thingIf = require('thing-if-sdk');
const { APP_ID, APP_KEY, SITE, THING_ID, THING_PASSWORD, VENDOR_THING_ID } = process.env;

const PATIENCE = 60_000;

// What `read` gives, once `is` holds of it.
async function eventually(what, read, is) {
  const until = Date.now() + PATIENCE;
  for (;;) {
    const value = await read();
    if (is(value)) return value;
    assert(Date.now() < until, `${what}: still ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// thing-if-sdk's error for an answer with this status and code.
const refused = (status, errorCode) => (error) => {
  assert.equal(error.name, 'HttpRequestError', error);
  assert.equal(error.status, status, error);
  assert.equal(error.body.errorCode, errorCode, error);
  assert.ok(error.body.message, error);
  return true;
};

async function logIn() {
  kii.Kii.initializeWithSite(APP_ID, APP_KEY, `${SITE}/api`);
  const registered = await kii.KiiUser.userWithUsername('ann', 'secret of ann').register();
  const id = registered.getID();
  assert.match(id, /^[0-9a-f-]+$/);
  kii.KiiUser.logOut();
  assert.equal(kii.KiiUser.getCurrentUser(), null);

  await assert.rejects(kii.KiiUser.authenticate('ann', 'secret of bob'), (error) => {
    assert.match(error.message, /^invalid_grant: /);
    return true;
  });
  const user = await kii.KiiUser.authenticate('ann', 'secret of ann');
  assert.equal(user.getID(), id);
  assert.notEqual(user.getAccessToken(), registered.accessToken);
  assert.ok(kii.KiiUser.loggedIn());
  return user;
}

async function onboard(user) {
  const app = thingIf.AppBuilder.buildWithSite(APP_ID, APP_KEY, SITE);
  const owner = new thingIf.TypedID(thingIf.Types.User, user.getID());
  const api = new thingIf.ThingIFAPI(owner, user.getAccessToken(), app);
  const request = (password) => new thingIf.OnboardWithVendorThingIDRequest(VENDOR_THING_ID, password, owner);

  await assert.rejects(api.onboardWithVendorThingID(request('a guess')), refused(401, 'WRONG_PASSWORD'));
  const result = await api.onboardWithVendorThingID(request(THING_PASSWORD));
  assert.equal(result.thingID, THING_ID);
  assert.ok(result.accessToken);
  const endpoint = result.mqttEndPoint;
  for (const name of ['installationID', 'host', 'mqttTopic', 'username', 'password']) assert.ok(endpoint[name], name);
  for (const name of ['portTCP', 'portSSL', 'portWS', 'portWSS', 'ttl']) assert.ok(endpoint[name] > 0, name);

  const byThingID = new thingIf.OnboardWithThingIDRequest(THING_ID, THING_PASSWORD, owner);
  assert.equal((await api.onboardWithThingID(byThingID)).thingID, THING_ID);
  assert.equal(api.target.toString(), `thing:${THING_ID}`);
  return api;
}

const isOver = (command) => ['DONE', 'INCOMPLETE'].includes(command.commandState);

async function sendCommands(api, user) {
  const actions = [{ turnPower: { power: true } }, { setPresetTemperature: { presetTemperature: 21 } }];
  const request = new thingIf.PostCommandRequest('Thermostat', 1, actions);
  Object.assign(request, { title: 'Warm', description: 'Before they come home', metadata: { room: 'hall' } });
  const posted = await api.postNewCommand(request);
  assert.ok(posted.commandID);

  const command = await eventually('the command', () => api.getCommand(posted.commandID), isOver);
  assert.equal(command.commandID, posted.commandID);
  assert.equal(command.commandState, thingIf.CommandState.DONE);
  assert.equal(command.targetID.toString(), `thing:${THING_ID}`);
  assert.equal(command.issuerID.toString(), `user:${user.getID()}`);
  assert.equal(command.schema, 'Thermostat');
  assert.equal(command.schemaVersion, 1);
  assert.deepEqual(command.actions, actions);
  assert.deepEqual(command.actionResults, [
    { turnPower: { succeeded: true } },
    { setPresetTemperature: { succeeded: true } },
  ]);
  assert.equal(command.title, 'Warm');
  assert.equal(command.description, 'Before they come home');
  assert.deepEqual(command.metadata, { room: 'hall' });
  assert.ok(command.created <= command.modified && command.modified <= Date.now() + PATIENCE);
  assert.deepEqual(await api.getState(), { power: true, presetTemperature: 21 });

  const tooWarm = new thingIf.PostCommandRequest('Thermostat', 1, [
    { setPresetTemperature: { presetTemperature: 99 } },
  ]);
  const { commandID } = await api.postNewCommand(tooWarm);
  const failed = await eventually('the command', () => api.getCommand(commandID), isOver);
  assert.deepEqual(failed.actionResults, [
    { setPresetTemperature: { succeeded: false, errorMessage: '99 degrees are too many' } },
  ]);
  assert.deepEqual(await api.getState(), { power: true, presetTemperature: 21 });

  const listed = [];
  for (let key; ; ) {
    const page = await api.listCommands(new thingIf.ListQueryOptions(1, key));
    assert.ok(page.results.length <= 1);
    listed.push(...page.results.map((each) => each.commandID));
    if (!page.hasNext) break;
    key = page.paginationKey;
  }
  assert.deepEqual(listed.sort(), [posted.commandID, commandID].sort());
  assert.equal((await api.listCommands()).results.length, 2);
  await assert.rejects(api.getCommand('none-such'), refused(404, 'COMMAND_NOT_FOUND'));
  await assert.rejects(
    api.postNewCommand(new thingIf.PostCommandRequest('Thermostat', 1, ['turnPower'])),
    refused(400, 'WRONG_COMMAND'),
  );
}

// The commands that this trigger has sent, latest or not.
async function sentBy(api, triggerID) {
  const { results } = await api.listCommands(new thingIf.ListQueryOptions(100));
  return results.filter((command) => command.firedByTriggerID === triggerID);
}

async function useTriggers(api, user) {
  const { Condition, Equals, And, Range, NotEquals, StatePredicate, TriggersWhen } = thingIf;
  const eco = new thingIf.TriggerCommandObject('Thermostat', 1, [{ setPresetTemperature: { presetTemperature: 18 } }]);
  const switchedOff = new StatePredicate(new Condition(new Equals('power', false)), TriggersWhen.CONDITION_FALSE_TO_TRUE);
  const posted = await api.postCommandTrigger(
    new thingIf.PostCommandTriggerRequest(eco, switchedOff, 'Eco', 'When nobody is home', { by: 'app' }),
  );
  assert.ok(posted.triggerID);
  assert.equal(posted.disabled, false);

  const trigger = await api.getTrigger(posted.triggerID);
  assert.equal(trigger.triggerID, posted.triggerID);
  assert.equal(trigger.disabled, false);
  assert.equal(trigger.triggersWhat, thingIf.TriggersWhat.COMMAND);
  assert.deepEqual(trigger.predicate, switchedOff);
  assert.equal(trigger.command.schema, 'Thermostat');
  assert.equal(trigger.command.targetID.toString(), `thing:${THING_ID}`);
  assert.deepEqual(trigger.command.actions, eco.actions);
  assert.equal(trigger.title, 'Eco');
  assert.equal(trigger.description, 'When nobody is home');
  assert.deepEqual(trigger.metadata, { by: 'app' });

  // It fires: the thing switches off, reports that, and is told to keep 18 degrees.
  const turn = async (power) => {
    const { commandID } = await api.postNewCommand(
      new thingIf.PostCommandRequest('Thermostat', 1, [{ turnPower: { power } }]),
    );
    const command = await eventually('the command', () => api.getCommand(commandID), isOver);
    assert.equal(command.commandState, thingIf.CommandState.DONE, JSON.stringify(command));
  };
  await turn(false);
  const fired = await eventually('the trigger', () => sentBy(api, posted.triggerID), (sent) => sent.some(isOver));
  assert.equal(fired.length, 1);
  assert.deepEqual(fired[0].actionResults, [{ setPresetTemperature: { succeeded: true } }]);
  assert.deepEqual(await api.getState(), { power: false, presetTemperature: 18 });

  // Disabled, it does not; enabled again, it does.
  assert.equal((await api.enableTrigger(posted.triggerID, false)).disabled, true);
  await turn(true);
  await turn(false);
  assert.equal((await sentBy(api, posted.triggerID)).length, 1);
  assert.equal((await api.enableTrigger(posted.triggerID, true)).disabled, false);
  await turn(true);
  await turn(false);
  await eventually('the trigger', () => sentBy(api, posted.triggerID), (sent) => sent.filter(isOver).length === 2);

  // A patch replaces what it names.
  const cold = new StatePredicate(
    new Condition(new And(new NotEquals('power', true), Range.lessThanEquals('presetTemperature', 5))),
    TriggersWhen.CONDITION_CHANGED,
  );
  const frost = new thingIf.TriggerCommandObject('Thermostat', 2, [{ turnPower: { power: true } }]);
  const patched = await api.patchCommandTrigger(
    posted.triggerID,
    new thingIf.PatchCommandTriggerRequest(frost, cold, 'Frost'),
  );
  assert.deepEqual(patched.predicate, cold);
  assert.equal(patched.command.schemaVersion, 2);
  assert.deepEqual(patched.command.actions, frost.actions);
  assert.equal(patched.title, 'Frost');
  assert.equal(patched.description, 'When nobody is home');

  // The other kinds of predicate.
  const daily = new thingIf.SchedulePredicate('0 7 * * *');
  const scheduled = await api.postCommandTrigger(new thingIf.PostCommandTriggerRequest(eco, daily));
  assert.deepEqual((await api.getTrigger(scheduled.triggerID)).predicate, daily);
  const once = new thingIf.ScheduleOncePredicate(Date.now() + 86_400_000);
  const tomorrow = await api.postCommandTrigger(new thingIf.PostCommandTriggerRequest(eco, once));
  assert.deepEqual((await api.getTrigger(tomorrow.triggerID)).predicate, once);

  // Server code, which there is none of, leaves a failed result.
  const code = new thingIf.ServerCode('report', user.getAccessToken(), APP_ID, { unit: 'celsius' });
  const switchedOn = new StatePredicate(new Condition(new Equals('power', true)), TriggersWhen.CONDITION_FALSE_TO_TRUE);
  const serverCode = await api.postServerCodeTrigger(new thingIf.PostServerCodeTriggerRequest(code, switchedOn, 'Report'));
  const got = await api.getTrigger(serverCode.triggerID);
  assert.equal(got.triggersWhat, thingIf.TriggersWhat.SERVER_CODE);
  assert.equal(got.serverCode.endpoint, 'report');
  assert.deepEqual(got.serverCode.parameters, { unit: 'celsius' });
  assert.deepEqual(got.predicate, switchedOn);
  await turn(true);
  const { results: [ran] } = await eventually(
    'the server code',
    () => api.listServerCodeExecutionResults(serverCode.triggerID),
    ({ results }) => results.length > 0,
  );
  assert.equal(ran.succeeded, false);
  assert.equal(ran.endpoint, 'report');
  assert.ok(ran.error.errorMessage);

  const all = [];
  for (let key; ; ) {
    const page = await api.listTriggers(new thingIf.ListQueryOptions(2, key));
    all.push(...page.results.map((each) => each.triggerID));
    if (!page.hasNext) break;
    key = page.paginationKey;
  }
  const made = [posted, scheduled, tomorrow, serverCode].map((each) => each.triggerID);
  assert.deepEqual(all.sort(), made.sort());
  for (const triggerID of made) assert.equal(await api.deleteTrigger(triggerID), triggerID);
  assert.deepEqual((await api.listTriggers()).results, []);
  await assert.rejects(api.getTrigger(posted.triggerID), refused(404, 'TRIGGER_NOT_FOUND'));
}

async function rename(api) {
  assert.equal(await api.getVendorThingID(), VENDOR_THING_ID);
  await api.updateVendorThingID('renamed', 'another secret');
  assert.equal(await api.getVendorThingID(), 'renamed');
}

// What the app may not do with a token that is none.
async function asStranger(api) {
  const stranger = new thingIf.ThingIFAPI(api.target, 'no such token', api.app, api.target);
  await assert.rejects(stranger.getState(), refused(403, 'WRONG_TOKEN'));
}

(async () => {
  const user = await logIn();
  const api = await onboard(user);
  await sendCommands(api, user);
  await useTriggers(api, user);
  await asStranger(api);
  await rename(api);
  console.log('owner.js: every answer is as expected');
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
