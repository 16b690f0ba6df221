// What kii-cloud-sdk has for users, their data and their pushes, as apps use it.
'use strict';
const assert = require('node:assert/strict');
const kii = require('kii-cloud-sdk').create();
const { ADMIN_ID, ADMIN_SECRET, APP_ID, APP_KEY, SITE } = process.env;
const { Kii, KiiClause, KiiQuery, KiiThing, KiiUser } = kii;

// The SDK's error for this status and code; some of its calls keep no status, and some no more than a text.
const refused = (...parts) => (error) => {
  for (const part of parts) assert.ok(error.message.includes(part), `no ${part} in ${error.message}`);
  return true;
};

async function attributes() {
  const ann = KiiUser.userWithCredentials('ann@example.com', '+819012345678', 'ann', 'secret of ann');
  ann.setDisplayName('Ann');
  ann.setCountry('JP');
  ann.set('plan', 'free');
  ann.set('rooms', 2);
  await ann.register();
  await assert.rejects(
    KiiUser.userWithUsername('ann', 'another secret').register(),
    refused('USER_ALREADY_EXISTS'),
  );

  // Logged in by each of its names, and by its token.
  for (const name of ['ann', 'ann@example.com', '+819012345678']) {
    const user = await KiiUser.authenticate(name, 'secret of ann');
    assert.equal(user.getID(), ann.getID());
  }
  const user = await KiiUser.authenticateWithToken(ann.getAccessToken());
  assert.equal(user.getID(), ann.getID());
  assert.equal(user.getUsername(), 'ann');
  assert.equal(user.getDisplayName(), 'Ann');
  assert.equal(user.getCountry(), 'JP');
  assert.equal(user.getEmailAddress(), 'ann@example.com');
  assert.equal(user.getPhoneNumber(), '+819012345678');
  assert.equal(user.get('plan'), 'free');
  assert.equal(user.get('rooms'), 2);
  assert.ok(user.getCreated() > 0 && user.getModified() >= user.getCreated());

  // Other fields are replaced as a whole, those that the service knows one by one.
  await user.update({ username: 'anna' }, null, { displayName: 'Anna', plan: 'paid' }, ['rooms']);
  const updated = await KiiUser.authenticateWithToken(ann.getAccessToken());
  assert.equal(updated.getUsername(), 'anna');
  assert.equal(updated.getDisplayName(), 'Anna');
  assert.equal(updated.getCountry(), 'JP');
  assert.equal(updated.get('plan'), 'paid');
  assert.equal(updated.get('rooms'), undefined);
  updated.setCountry('US');
  updated.set('rooms', 3);
  await updated.save();
  const saved = await KiiUser.authenticateWithToken(ann.getAccessToken());
  assert.equal(saved.getCountry(), 'US');
  assert.equal(saved.get('rooms'), 3);
  assert.equal(saved.get('plan'), 'paid');

  // Found by others by each of its names, who see no more than its name.
  await KiiUser.userWithUsername('bob', 'secret of bob').register();
  for (const found of [
    await KiiUser.findUserByUsername('anna'),
    await KiiUser.findUserByEmail('ann@example.com'),
    await KiiUser.findUserByPhone('+819012345678'),
  ]) {
    assert.equal(found.getID(), ann.getID());
    assert.equal(found.getDisplayName(), 'Anna');
    assert.equal(found.getEmailAddress(), undefined);
  }
  await assert.rejects(KiiUser.findUserByUsername('nobody'), refused('404'));

  const again = await KiiUser.authenticate('anna', 'secret of ann');
  await assert.rejects(again.updatePassword('a guess', 'new secret'), refused('WRONG_PASSWORD'));
  await again.updatePassword('secret of ann', 'new secret');
  await assert.rejects(KiiUser.authenticateWithToken(again.getAccessToken()), refused('WRONG_TOKEN'));
  return KiiUser.authenticate('anna', 'new secret');
}

async function objects(bucket) {
  const object = bucket.createObject();
  object.set('room', 'hall');
  object.set('lux', 120);
  await object.save();
  assert.ok(object.getID() && object.getCreated() > 0);
  object.set('lux', 90);
  await object.save(null, false); // only if nobody changed it meanwhile

  const stale = bucket.createObjectWithID(object.getID());
  await stale.refresh();
  assert.equal(stale.get('room'), 'hall');
  assert.equal(stale.get('lux'), 90);
  assert.equal(stale.getCreated(), object.getCreated());
  object.set('lux', 80);
  await object.saveAllFields(null, false);
  stale.set('lux', 1);
  await assert.rejects(stale.saveAllFields(null, false), refused('OBJECT_VERSION_IS_STALE'));

  const named = bucket.createObjectWithID('kitchen-1');
  named.set('room', 'kitchen');
  named.set('lux', 300);
  await named.saveAllFields(null, false);
  const taken = bucket.createObjectWithID('kitchen-1');
  taken.set('room', 'cellar');
  await assert.rejects(taken.saveAllFields(null, false), refused('OBJECT_ALREADY_EXISTS'));
  for (const [room, lux] of [['bath', 150], ['attic', 20], ['cellar', 0]]) {
    const each = bucket.createObjectWithType('reading');
    each.set('room', room);
    each.set('lux', lux);
    await each.save();
  }

  // Two a page, brightest first.
  let query = KiiQuery.queryWithClause(
    KiiClause.and(KiiClause.greaterThanOrEqual('lux', 20), KiiClause.notEquals('room', 'bath')),
  );
  query.sortByDesc('lux');
  query.setLimit(2);
  const seen = [];
  while (query !== null) {
    const [, page, next] = await bucket.executeQuery(query);
    assert.ok(page.length <= 2);
    seen.push(...page.map((each) => each.get('room')));
    query = next;
  }
  assert.deepEqual(seen, ['kitchen', 'hall', 'attic']);
  assert.equal((await bucket.count())[2], 5);
  const few = KiiQuery.queryWithClause(KiiClause.inClause('room', ['bath', 'attic', 'none']));
  assert.equal((await bucket.countWithQuery(few))[2], 2);
  assert.equal((await bucket.executeQuery(KiiQuery.queryWithClause(KiiClause.startsWith('room', 'k'))))[1].length, 1);

  await named.delete();
  await assert.rejects(named.refresh(), refused('OBJECT_NOT_FOUND'));
  await bucket.delete();
  await assert.rejects(bucket.delete(), refused('BUCKET_NOT_FOUND'));
}

async function pushes(user) {
  const installation = user.pushInstallation();
  const began = Date.now();
  const { installationID, installationRegistrationID } = await installation.installMqtt(false);
  // The endpoint is ready half a second later: until then it is 503. The SDK asks three times, a second apart, and gives up.
  const endpoint = await installation.getMqttEndpoint(installationID);
  assert.ok(Date.now() - began >= 500, 'it is there too early');
  assert.equal(endpoint.installationID, installationID);
  for (const name of ['host', 'mqttTopic', 'username', 'password']) assert.ok(endpoint[name], name);
  for (const name of ['portTCP', 'portSSL', 'portWS', 'portWSS', 'X-MQTT-TTL']) assert.ok(endpoint[name] > 0, name);

  const bucket = user.bucketWithName('mailbox');
  const topic = user.topicWithName('news');
  assert.equal(await topic.exists(), false);
  await topic.save();
  assert.equal(await topic.exists(), true);
  await assert.rejects(topic.save(), refused('TOPIC_ALREADY_EXISTS'));
  const [topics, more] = await user.listTopics();
  assert.deepEqual(topics.map((each) => each.getName()), ['news']);
  assert.equal(more, null);
  const object = bucket.createObject();
  await object.save();

  const subscription = user.pushSubscription();
  for (const target of [bucket, topic]) {
    assert.equal((await subscription.isSubscribed(target))[2], false);
    await subscription.subscribe(target);
    assert.equal((await subscription.isSubscribed(target))[2], true);
    await assert.rejects(subscription.subscribe(target), refused('PUSH_SUBSCRIPTION_ALREADY_EXISTS'));
  }
  const message = new kii.KiiPushMessageBuilder({ headline: 'it works' }).enableApns(false).build();
  await topic.sendMessage(message);
  for (const target of [bucket, topic]) {
    await subscription.unsubscribe(target);
    await assert.rejects(subscription.unsubscribe(target), refused('PUSH_SUBSCRIPTION_NOT_FOUND'));
  }
  await topic.deleteTopic();
  await assert.rejects(topic.deleteTopic(), refused('404', 'TOPIC_NOT_FOUND'));

  await installation.uninstall(installationRegistrationID, 'MQTT');
  await assert.rejects(installation.getMqttEndpoint(installationID), refused('404', 'MQTT_ENDPOINT_NOT_FOUND'));
  const second = await installation.installMqtt(true);
  await installation.uninstallByInstallationID(second.installationID);
  await assert.rejects(installation.uninstallByInstallationID(second.installationID), refused('404'));
}

async function things(user) {
  const registered = await KiiThing.register({
    _vendorThingID: 'lamp-1', _password: 'secret of lamp', _thingType: 'lamp', colour: 'white',
  });
  assert.ok(registered.getThingID() && registered.getAccessToken() && registered.getCreated());
  assert.equal(registered.getVendorThingID(), 'lamp-1');
  await assert.rejects(KiiThing.loadWithVendorThingID('lamp-1'), refused('load thing failed'));
  await assert.rejects(
    KiiThing.registerOwnerWithVendorThingIDAndPassword('lamp-1', user, 'a guess'),
    refused('register owner failed'),
  );
  await KiiThing.registerOwnerWithVendorThingIDAndPassword('lamp-1', user, 'secret of lamp');

  const lamp = await KiiThing.loadWithVendorThingID('lamp-1');
  assert.equal(lamp.getThingID(), registered.getThingID());
  assert.equal(lamp.getAccessToken(), undefined);
  assert.equal(lamp.getDisabled(), false);
  assert.equal(lamp.isOnline(), null); // only of a thing behind a gateway, once it has said
  assert.equal(lamp.fields.colour, 'white');
  lamp.fields.colour = 'red';
  await lamp.update();
  assert.equal((await KiiThing.loadWithThingID(lamp.getThingID())).fields.colour, 'red');
  assert.equal((await lamp.isOwner(user))[2], true);
  assert.equal((await lamp.isOwner(KiiUser.userWithID('0000-0000')))[2], false);
  const owned = await KiiThing.executeQuery(kii.KiiThingQuery.thingQuery(user));
  assert.deepEqual(owned.getResult().map((each) => each.getThingID()), [lamp.getThingID()]);
  assert.equal(owned.hasNext(), false);

  // The thing, by its own password.
  const itself = await Kii.authenticateAsThing('lamp-1', 'secret of lamp');
  await objects(itself.bucketWithName('log'));
  const installed = await itself.pushInstallation().installMqtt(false);
  assert.ok((await itself.pushInstallation().getMqttEndpoint(installed.installationID)).username);
  await assert.rejects(Kii.authenticateAsThing('lamp-1', 'a guess'), refused('invalid_grant'));

  await lamp.unregisterOwner(user);
  await assert.rejects(lamp.refresh(), refused('refresh thing failed'));
}

async function administrator(user) {
  const admin = await Kii.authenticateAsAppAdmin(ADMIN_ID, ADMIN_SECRET);
  await assert.rejects(Kii.authenticateAsAppAdmin(ADMIN_ID, 'a guess'), refused('invalid_grant'));
  const [, found] = await admin.findUserByUsername('anna');
  assert.equal(found.getID(), user.getID());
  assert.equal(found.getEmailAddress(), 'ann@example.com');
  const lamp = await admin.loadThingWithVendorThingID('lamp-1');
  await admin.registerOwnerWithThingID(lamp.getThingID(), user);
  assert.equal((await lamp.isOwner(user))[2], true);
  await objects(admin.bucketWithName('shared'));
  const topic = admin.topicWithName('all');
  await topic.save();
  assert.deepEqual((await admin.listTopics())[0].map((each) => each.getName()), ['all']);
  await topic.deleteTopic();
  await lamp.deleteThing();
  await assert.rejects(admin.loadThingWithThingID(lamp.getThingID()), refused('404'));
}

(async () => {
  Kii.initializeWithSite(APP_ID, APP_KEY, `${SITE}/api`);
  const user = await attributes();
  await objects(user.bucketWithName('rooms'));
  await objects(Kii.bucketWithName('public'));
  await pushes(user);
  await things(user);
  await administrator(user);
  await user.delete();
  await assert.rejects(KiiUser.authenticate('anna', 'new secret'), refused('invalid_grant'));
  console.log('cloud.js: every answer is as expected');
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
